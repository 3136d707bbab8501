// Calls the real BullMQ on behalf of a test: one JSON request a line on stdin, one JSON reply a line on stdout.
//
//   node agent.mjs bullmq5|bullmq6 redis://…
//   {"ticket": 1, "on": "queue", "queue": "q", "method": "add", "args": ["name", {}, {}]}
//   {"ticket": 1, "ok": …} or {"ticket": 1, "error": "message"}
//
// Requests run side by side, so a test can wait for a result and do something meanwhile.

import { createInterface } from 'node:readline';

const [library, url] = process.argv.slice(2);
const { Queue, QueueEvents, Worker, FlowProducer, Job } = await import(library);
const { hostname: host, port, password } = new URL(url);
const connection = { host, port: Number(port), password: password || undefined, maxRetriesPerRequest: null };

const EVENTS = [
  'added', 'active', 'cleaned', 'completed', 'deduplicated', 'delayed', 'drained', 'duplicated', 'failed', 'paused',
  'progress', 'removed', 'resumed', 'retries-exhausted', 'stalled', 'waiting', 'waiting-children',
];

/** One of each kind and queue, made when it is first needed. */
const made = new Map();
function one(kind, queue, make) {
  const key = `${kind} ${queue}`;
  if (!made.has(key)) made.set(key, make());
  return made.get(key);
}

const queueOf = (queue) => one('queue', queue, () => new Queue(queue, { connection }));
const eventsOf = (queue) =>
  one('events', queue, () => {
    const events = new QueueEvents(queue, { connection });
    const seen = [];
    for (const event of EVENTS) events.on(event, (fields) => seen.push({ event, ...fields }));
    // A stream entry that BullMQ cannot read ends its loop with nothing but this.
    events.on('error', (error) => seen.push({ event: 'error', message: String(error) }));
    return { events, seen };
  });

async function jobOf(queue, id) {
  const job = await Job.fromId(queueOf(queue), id);
  if (!job) throw new Error(`no job ${id} in ${queue}`);
  return job;
}

const handlers = {
  queue: ({ queue, method, args }) => queueOf(queue)[method](...args),
  job: async ({ queue, id, method, args }) => (await jobOf(queue, id))[method](...args),
  events: async ({ queue, method }) => {
    const { events, seen } = eventsOf(queue);
    await events.waitUntilReady();
    return method === 'seen' ? seen : null;
  },
  finished: async ({ queue, id, ms }) => {
    const { events } = eventsOf(queue);
    await events.waitUntilReady();
    return (await jobOf(queue, id)).waitUntilFinished(events, ms);
  },
  worker: async ({ queue, method, args }) => {
    if (method === 'stop') return one('worker', queue).close();
    const work = async (job) => ({ by: 'node', i: job.data.i });
    const worker = one('worker', queue, () => new Worker(queue, work, { connection, ...args[0] }));
    worker.on('error', (error) => console.error(`worker: ${error}`));
    await worker.waitUntilReady();
    return null;
  },
  flow: ({ tree }) => one('flow', '', () => new FlowProducer({ connection })).add(tree),
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const { ticket, on } = request;
  Promise.resolve()
    .then(() => handlers[on](request))
    .then((ok) => ({ ticket, ok: ok ?? null }), (error) => ({ ticket, error: String(error?.message ?? error) }))
    .then((reply) => process.stdout.write(`${JSON.stringify(reply)}\n`));
}
process.exit(0);
