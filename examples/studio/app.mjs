// The team's Node app, as far as queues have to do with it: uploads are moderated, /api/health says how Redis is, and
// /api/admin/queue/stats how the queues stand. JOBCELL_URL is the host beside it.

import { createServer } from 'node:http';
import { createHash } from 'node:crypto';
import { HostQueues, QUEUES, RedisQueues, connection } from './queues.mjs';

const { PORT, JOBCELL_URL: jobcell } = process.env;
const redis = connection();
const queues = redis ? new RedisQueues(redis) : new HostQueues(jobcell);
await queues.ready();

/** What Redis is doing, as the host that works the queues sees it: `connected | disconnected | not_configured`. */
async function health() {
  const answer = await fetch(`${jobcell}/health`, { signal: AbortSignal.timeout(5_000) });
  const { status, redis } = await answer.json();
  return { status, database: 'connected', redis };
}

/** How many jobs each queue has in each state. */
async function stats() {
  const all = await Promise.all(QUEUES.map(async (name) => {
    const answer = await fetch(`${jobcell}/api/v1/queues/${name}`);
    const { waiting, active, completed, failed, delayed, paused } = await answer.json();
    return [name, { waiting, active, completed, failed, delayed, paused }];
  }));
  return Object.fromEntries(all);
}

/** A post with a picture: what the AI service says of the picture decides. */
async function post({ postId, picture }) {
  const sha256 = createHash('sha256').update(picture).digest('hex');
  const content = { sha256, url: `https://cdn.example.com/${sha256}` };
  const { id, result } = await queues.run('moderation', 'moderate', { postId, content });
  return { postId, job: id, decision: result.decision };
}

const routes = {
  'GET /api/health': health,
  'GET /api/admin/queue/stats': stats,
  'POST /api/posts': post,
  'POST /api/jobs': async ({ queue, name, data, opts, wait = true }) =>
    wait ? queues.run(queue, name, data, opts) : { id: await queues.add(queue, name, data, opts) },
};

createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) body += chunk;
  const route = routes[`${request.method} ${request.url}`];
  const [status, answer] = !route
    ? [404, { error: 'no such page' }]
    : await route(body && JSON.parse(body)).then((answer) => [200, answer], (error) => [500, { error: error.message }]);
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
}).listen(Number(PORT), '127.0.0.1', () => console.log(`listening on ${PORT}`));

process.on('SIGTERM', () => process.exit(0));
