// The team's web server: sessions, feeds, posts, likes and views, and a BullMQ queue `content` for what takes longer.
// FEEDS=in-process builds feeds here, as it did before; otherwise a job does.

import { createHash, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { Queue, QueueEvents } from 'bullmq';
import { connect, isConnected, redis } from './redis.mjs';
import * as sessions from './sessions.mjs';

const { DATABASE_URL, FEEDS, PORT } = process.env;
const FEED_TTL_S = 600;
const WITHIN_MS = 30_000;

const queue = new Queue('content', { connection: connect() });
const ends = new QueueEvents('content', { connection: connect() });
for (const client of [queue, ends]) client.on('error', () => {});

const database = async (method, path, body) => {
  const answer = await fetch(DATABASE_URL + path, {
    method,
    headers: { 'content-type': 'application/json', 'idempotency-key': randomUUID() },
    body: body && JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`the database answered ${answer.status}`);
  return answer.json();
};

/** A job with an id that is chosen here, so that an add whose answer was lost can be made again. */
const add = (name, data, id = randomUUID()) =>
  queue.add(name, data, { jobId: id, attempts: 5, backoff: { type: 'exponential', delay: 200 } });

// --- feeds ---

/** The cache service's get-or-set: whoever finds nothing asks the database. */
async function getOrSet(key, make, ttl) {
  const held = await redis.get(key);
  if (held) return JSON.parse(held);
  const made = await make();
  await redis.set(key, JSON.stringify(made), 'EX', ttl);
  return made;
}

async function feed(user, query) {
  const hash = createHash('sha1').update(query).digest('hex').slice(0, 12);
  const key = user ? `feed:user:${user}:${hash}` : `feed:global:${hash}`;
  if (FEEDS === 'in-process') return getOrSet(key, () => database('GET', `/feed?${query}${user ? `&user=${user}` : ''}`), FEED_TTL_S);
  let held = await redis.get(key);
  if (!held) {
    const job = await add('build-feed', { user, hash, query });
    await job.waitUntilFinished(ends, WITHIN_MS);
    held = await redis.get(key);
  }
  return JSON.parse(held);
}

// --- posts and their counters ---

/** In a Redis that is new, a counter begins where the database is. */
async function count(post, what, by) {
  const key = `post:${post}:${what}`;
  if (!(await redis.exists(key))) {
    await redis.set(key, await database('GET', `/counters/${post}:${what}`), 'NX');
  }
  return redis.incrby(key, by);
}

async function like(user, post) {
  const isNew = await redis.set(`user:${user}:like:${post}`, '1', 'NX');
  return { likes: await count(post, 'likes', isNew ? 1 : 0) };
}

async function shown(post) {
  const [likes, views, comments] = await redis.mget(['likes', 'views', 'comments'].map((what) => `post:${post}:${what}`));
  const page = await getOrSet(`cache:post:${post}`, () => database('GET', `/posts/${post}`), 3600);
  return { ...page, likes: Number(likes), views: Number(views), comments: Number(comments) };
}

async function publish(author, { title }) {
  const post = await database('POST', '/posts', { author, title });
  const { followers, ...page } = post;
  await add('publish-post', { post: post.id, followers, page });
  return post;
}

// --- routes ---

async function answer(request, body) {
  const { pathname, search } = new URL(request.url, 'http://api');
  const route = `${request.method} ${pathname.replace(/^\/posts\/\d+/, '/posts/:id')}`;
  const post = pathname.match(/^\/posts\/(\d+)/)?.[1];
  if (route === 'GET /health') return [200, { redis: isConnected() ? 'connected' : 'disconnected' }];
  if (route === 'POST /login') return [200, { user: body.user }, { 'set-cookie': await sessions.begin(body.user) }];
  const session = await sessions.of(request);
  if (route === 'GET /feed') return [200, await feed(session?.userId, search.slice(1))];
  if (route === 'GET /posts/:id') return [200, await shown(post)];
  if (route === 'POST /posts/:id/view') return [200, { views: await count(post, 'views', 1) }];
  if (!session) return [401, { error: 'log in' }];
  if (route === 'POST /posts') return [201, await publish(session.userId, body)];
  if (route === 'POST /posts/:id/like') return [200, await like(session.userId, post)];
  if (route === 'POST /posts/:id/comments') {
    const job = await add('add-comment', { session: session.id, post, text: body.text }, body.id);
    return [202, { job: job.id }];
  }
  return [404, { error: 'not found' }];
}

const server = createServer(async (request, response) => {
  let text = '';
  for await (const chunk of request) text += chunk;
  const [status, body, headers = {}] = await answer(request, text ? JSON.parse(text) : {}).catch((error) => [500, { error: error.message }]);
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
});

await Promise.all([queue.waitUntilReady(), ends.waitUntilReady()]);
console.log('Redis session store ready');
// What the counters gained goes to the database every second.
await queue.upsertJobScheduler('flush-counters', { every: 1000 }, { name: 'flush-counters', opts: { removeOnComplete: true } });
server.listen(Number(PORT), '127.0.0.1', () => console.log(`Listening on ${PORT}`));
process.on('SIGTERM', () => process.exit(0));
