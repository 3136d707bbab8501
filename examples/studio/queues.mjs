// The team's `queue.ts`: the queues of the studio. With REDIS_HOST they are BullMQ's; without, jobs go over the HTTP API of
// the host that runs beside the app.

import { Queue, QueueEvents } from 'bullmq';

export const QUEUES = ['video-enhancement', 'analytics', 'chain-sync', 'memory-mining', 'privacy-audit', 'moderation'];

/** The connection as the team's guide has it. */
export function connection({ REDIS_HOST, REDIS_PORT, REDIS_USERNAME, REDIS_PASSWORD, REDIS_TLS, REDIS_CA } = process.env) {
  if (!REDIS_HOST) return null;
  const tls = REDIS_TLS === 'true' ? { ca: REDIS_CA } : undefined;
  return {
    host: REDIS_HOST,
    port: Number(REDIS_PORT ?? 6379),
    username: REDIS_USERNAME || undefined,
    password: REDIS_PASSWORD || undefined,
    tls,
    maxRetriesPerRequest: null,
  };
}

/** Queues over Redis. */
export class RedisQueues {
  #queues = new Map();

  constructor(redis) {
    for (const name of QUEUES) {
      this.#queues.set(name, { queue: new Queue(name, { connection: redis }), events: new QueueEvents(name, { connection: redis }) });
    }
    // Outages are BullMQ's to mend; it says so here until it has.
    for (const { queue, events } of this.#queues.values()) [queue, events].forEach((client) => client.on('error', () => {}));
  }

  async ready() {
    await Promise.all([...this.#queues.values()].map(({ events }) => events.waitUntilReady()));
  }

  /** Adds a job: its id. */
  async add(queue, name, data, opts = {}) {
    const job = await this.#queues.get(queue).queue.add(name, data, { attempts: 3, backoff: { type: 'exponential', delay: 500 }, ...opts });
    return job.id;
  }

  /** Adds a job and waits for its result. */
  async run(queue, name, data, opts) {
    const { queue: jobs, events } = this.#queues.get(queue);
    const id = await this.add(queue, name, data, opts);
    const job = await jobs.getJob(id);
    return { id, result: await job.waitUntilFinished(events) };
  }

  async counts() {
    const counted = [...this.#queues].map(async ([name, { queue }]) => [name, await queue.getJobCounts('waiting', 'active', 'completed', 'failed', 'delayed')]);
    return Object.fromEntries(await Promise.all(counted));
  }

  async close() {
    await Promise.all([...this.#queues.values()].flatMap(({ queue, events }) => [queue.close(), events.close()]));
  }
}

/** Queues of a host without Redis. */
export class HostQueues {
  constructor(host) {
    this.host = host;
  }

  async ready() {}

  async add(queue, name, data, opts = {}) {
    const { id } = await this.#post(`${queue}/jobs`, { name, data, opts: { attempts: 3, ...opts } });
    return id;
  }

  async run(queue, name, data, opts = {}) {
    const { id, state, result, reason } = await this.#post(`${queue}/jobs?wait=30`, { name, data, opts: { attempts: 3, ...opts } });
    if (state !== 'completed') throw new Error(`job ${id} of ${queue} is ${state}: ${reason}`);
    return { id, result };
  }

  async close() {}

  async #post(path, body) {
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(`${this.host}/api/v1/queues/${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }
}
