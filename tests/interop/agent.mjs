// Calls the real BullMQ on behalf of a test: one JSON request a line on stdin, one JSON reply a line on stdout.
//
//   node agent.mjs bullmq556|bullmq5|bullmq6 redis://…
//   node agent.mjs … '{"sentinels": [{"host": …, "port": …}, …], "name": …}'
//   node agent.mjs … '{"cluster": [{"host": …, "port": …}, …], "prefix": "{…}"}'
//   {"ticket": 1, "on": "queue", "queue": "q", "method": "add", "args": ["name", {}, {}]}
//   {"ticket": 1, "ok": …} or {"ticket": 1, "error": "message"}
//
// Requests run side by side, so a test can wait for a result and do something meanwhile.

import { readFileSync } from 'node:fs';
import Module from 'node:module';
import { createInterface } from 'node:readline';

import { Cluster } from 'ioredis';

const [library, place] = process.argv.slice(2);
const { Queue, QueueEvents, Worker, FlowProducer, Job } = await import(library);
const { version } = JSON.parse(readFileSync(new URL(`node_modules/${library}/package.json`, import.meta.url)));
const { prefix, connection } = placeOf(place);

/** Where Redis is, as options of a connection, and what the keys begin with where that is not the default. */
function placeOf(text) {
  const forever = { maxRetriesPerRequest: null };
  if (!text.startsWith('{')) {
    const { hostname: host, port, password } = new URL(text);
    return { prefix: 'bull', connection: { host, port: Number(port), password: password || undefined, ...forever } };
  }
  // Never left out: BullMQ 5 takes a prefix that is given as nothing for one of its connections' names.
  const { cluster, prefix = 'bull', ...rest } = JSON.parse(text);
  if (!cluster) return { prefix, connection: { ...rest, ...forever } };
  const nodes = new Cluster(cluster, { redisOptions: forever, clusterRetryStrategy: () => 100 });
  nodes.on('error', (error) => console.error(`cluster: ${error}`));
  return { prefix, connection: nodes };
}

const EVENTS = [
  'added', 'active', 'cleaned', 'completed', 'debounced', 'deduplicated', 'delayed', 'drained', 'duplicated', 'failed',
  'paused', 'progress', 'removed', 'resumed', 'retries-exhausted', 'stalled', 'waiting', 'waiting-children',
];

/** One of each kind and queue, made when it is first needed. */
const made = new Map();
function one(kind, queue, make) {
  const key = `${kind} ${queue}`;
  if (!made.has(key)) made.set(key, make());
  return made.get(key);
}

const queueOf = (queue) => one('queue', queue, () => new Queue(queue, { connection, prefix }));
const eventsOf = (queue) =>
  one('events', queue, () => {
    // From the first entry on: what is heard does not depend on when the listener came to its first read.
    const events = new QueueEvents(queue, { connection, prefix, lastEventId: '0' });
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

/** The least that BullMQ takes for telemetry: every span continues the trace that the request names. */
const telemetryOf = (traceparent) => ({
  tracer: {
    startSpan: () => ({
      setSpanOnContext: (context) => ({ ...context, traceparent }),
      setAttribute() {},
      setAttributes() {},
      addEvent() {},
      recordException() {},
      end() {},
    }),
  },
  contextManager: {
    active: () => ({}),
    with: (_context, run) => run(),
    getMetadata: (context) => JSON.stringify(context),
    fromMetadata: (_context, metadata) => JSON.parse(metadata),
  },
});

/** bull-board over these queues, without a web server: its own routes, called directly. */
async function boardOf(queues) {
  // It asks for `bullmq`; it is to get the release under test.
  const resolve = Module._resolveFilename;
  Module._resolveFilename = (name, ...rest) => resolve(name === 'bullmq' ? library : name, ...rest);
  const { createBullBoard } = await import('@bull-board/api');
  const { BullMQAdapter } = await import('@bull-board/api/bullMQAdapter');
  const board = { routes: [] };
  const keep = (name) => (value) => ((board[name] = value), adapter);
  const adapter = {
    setQueues: keep('queues'),
    setApiRoutes: keep('routes'),
    setUIConfig: keep('uiConfig'),
    setErrorHandler: keep('onError'),
    setEntryRoute: keep('entry'),
    setViewsPath: keep('views'),
    setStaticPath: keep('files'),
  };
  createBullBoard({
    queues: queues.map((queue) => new BullMQAdapter(queueOf(queue))),
    serverAdapter: adapter,
    options: { validateResponses: true },
  });
  return board;
}

/** The parameters of a path such as `/api/queues/a/7` by a route such as `/api/queues/:queueName/:jobId`. */
function matched(route, path) {
  const [pattern, parts] = [route.split('/'), path.split('/')];
  if (pattern.length !== parts.length) return null;
  const params = {};
  for (const [i, word] of pattern.entries()) {
    if (word.startsWith(':')) params[word.slice(1)] = decodeURIComponent(parts[i]);
    else if (word !== parts[i]) return null;
  }
  return params;
}

const handlers = {
  version: () => version,
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
    // As the guest `basic` does with jobs of these names.
    const work = async (job) => {
      if (job.name === 'flaky' && job.attemptsMade + 1 < job.data.until) throw new Error('a later attempt will succeed');
      if (job.name === 'sleep') await new Promise((done) => setTimeout(done, job.data.ms));
      return { by: 'node', i: job.data.i };
    };
    const worker = one('worker', queue, () => new Worker(queue, work, { connection, prefix, ...args[0] }));
    worker.on('error', (error) => console.error(`worker: ${error}`));
    await worker.waitUntilReady();
    return null;
  },
  flow: ({ tree, method }) => one('flow', '', () => new FlowProducer({ connection, prefix }))[method ?? 'add'](tree),
  traced: ({ queue, traceparent, method, args }) =>
    one('traced', `${queue} ${traceparent}`, () => new Queue(queue, { connection, telemetry: telemetryOf(traceparent) }))[
      method
    ](...args),
  board: async ({ queues, method, path, query, body }) => {
    const board = await one('board', queues.join(' '), () => boardOf(queues));
    for (const route of board.routes) {
      const params = [route.method].flat().includes(method) && matched(route.route, path);
      if (!params) continue;
      const request = { queues: board.queues, uiConfig: board.uiConfig, params, query: query ?? {}, body: body ?? {}, headers: {} };
      const answer = await route.handler(request);
      return { status: answer.status ?? 200, body: answer.body ?? null };
    }
    throw new Error(`bull-board has no route for ${method} ${path}`);
  },
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
