// The team's API: creates jobs, serves them to their tenants, tells each tenant's WebSocket clients what becomes of theirs.
//
//   REDIS_URL=… PORT=… JOBS_FILE=… INTERNAL_API_TOKEN=… TENANT_TOKENS='{"TOKEN":"acme"}' node api.mjs
//
// New with Jobcell are `label`, which says whose jobs were pushed, and `settle` and `catchUp`, which take their outcomes
// into the table.

import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';
import { Jobs } from './jobs.mjs';
import { getRedisClient, pushJobs, subscribeToJobUpdates } from './redis.mjs';

const { REDIS_URL, PORT, JOBS_FILE, INTERNAL_API_TOKEN } = process.env;
const tenants = JSON.parse(process.env.TENANT_TOKENS);
const WEEK_SECONDS = 7 * 24 * 3600;
const CATCH_UP_MS = 30_000;

const redis = getRedisClient();
const jobs = new Jobs(JOBS_FILE);
const clients = new Map(); // tenant → its WebSockets

// --- creating jobs: first the rows, then their ids on the list

async function createJobs(tenantId, files) {
  const rows = files.map((file) => jobs.insert(tenantId, file));
  await label(rows);
  await pushJobs(redis, rows.map(({ id }) => id));
  return rows;
}

/** Whose jobs these are, in the record that Jobcell looks into. They go by themselves when nobody worked them. */
function label(rows) {
  const pipeline = redis.pipeline();
  for (const { id, tenantId } of rows) pipeline.hset(`job:${id}`, { tenantId }).expire(`job:${id}`, WEEK_SECONDS);
  return pipeline.exec();
}

// --- updates: into the table, and to the tenant's clients

/** The outcome of a job as its record has it. What the team's own worker did is in the table already, and in no record. */
async function settle({ id }) {
  const [status, result, error] = await redis.hmget(`job:${id}`, 'status', 'result', 'error');
  if (status === 'COMPLETED') return jobs.update(id, { status, result: JSON.parse(result), error: null });
  if (status === 'FAILED') return jobs.update(id, { status, result: null, error });
  return null;
}

async function onUpdate({ tenantId, jobId, status, error }) {
  const row = jobs.get(jobId);
  if (!row) return;
  if (status === 'COMPLETED' || status === 'FAILED') await settle(row);
  else jobs.progress(jobId, status);
  broadcastJobUpdate(tenantId, jobId, status, error);
}

function broadcastJobUpdate(tenantId, jobId, status, error) {
  for (const client of clients.get(tenantId) ?? []) client.send(JSON.stringify({ jobId, status, error }));
}

/** A channel keeps nothing for a listener that is away, or connects again: ask about the jobs that are open. */
async function catchUp() {
  for (const row of jobs.open()) {
    const settled = await settle(row);
    if (settled) broadcastJobUpdate(settled.tenantId, settled.id, settled.status, settled.error);
  }
}

// --- HTTP and WebSocket

const tenantOf = ({ headers }) => tenants[headers.authorization?.replace(/^Bearer /, '')];

async function json(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString());
}

async function answer(request) {
  const [, first, second, third] = new URL(request.url, 'http://api').pathname.split('/');
  const body = request.method === 'GET' ? null : await json(request);
  if (first === 'internal') {
    if (request.headers.authorization !== `Bearer ${INTERNAL_API_TOKEN}`) return [401, { error: 'the token is wrong' }];
    const row = request.method === 'PATCH' ? jobs.update(third, body) : jobs.get(third);
    return row ? [200, row] : [404, { error: 'there is no such job' }];
  }
  const tenantId = tenantOf(request);
  if (!tenantId) return [401, { error: 'who are you?' }];
  if (request.method === 'POST') return [201, await createJobs(tenantId, body.files)];
  if (!second) return [200, jobs.counts(tenantId)];
  const row = jobs.get(second);
  return row?.tenantId === tenantId ? [200, row] : [404, { error: 'there is no such job' }];
}

const server = createServer(async (request, response) => {
  const [status, body] = await answer(request).catch((error) => [500, { error: error.message }]);
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
});

const sockets = new WebSocketServer({ server, path: '/updates', verifyClient: ({ req }) => Boolean(tenantOf(req)) });
sockets.on('connection', (client, request) => {
  const tenantId = tenantOf(request);
  if (!clients.has(tenantId)) clients.set(tenantId, new Set());
  clients.get(tenantId).add(client);
  client.on('close', () => clients.get(tenantId).delete(client));
});

// One after the other: what is told of a job stays in its order.
let turn = Promise.resolve();
const inTurn = (task) => {
  turn = turn.then(task).catch(console.error);
  return turn;
};
const unsubscribe = subscribeToJobUpdates(REDIS_URL, (update) => inTurn(() => onUpdate(update)));
setInterval(() => inTurn(catchUp), CATCH_UP_MS);
await unsubscribe.ready;
await inTurn(catchUp);

server.listen(Number(PORT), '127.0.0.1', () => console.log(`the API is at http://127.0.0.1:${PORT}`));

process.once('SIGTERM', async () => {
  unsubscribe();
  await turn;
  for (const client of sockets.clients) client.terminate();
  server.closeAllConnections();
  server.close(() => process.exit(0));
});
