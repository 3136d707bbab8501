// The team's package @repo/redis, as their API and their worker use it: a list of job ids, and a channel of updates.
// Jobcell needs no change in here.

import Redis from 'ioredis';

export const QUEUE = 'job_queue';
export const UPDATES = 'job_updates';

let shared;

/** The connection for commands; never subscribe on it. */
export function getRedisClient(url = process.env.REDIS_URL) {
  shared ??= new Redis(url, { maxRetriesPerRequest: null });
  return shared;
}

// --- the list: LPUSH on the left, RPOP on the right

export function pushJob(redis, jobId) {
  return redis.lpush(QUEUE, jobId);
}

export function pushJobs(redis, jobIds) {
  return jobIds.length === 0 ? Promise.resolve(0) : redis.lpush(QUEUE, ...jobIds);
}

/** The next id, waited for up to so many seconds; null when there is none. */
export async function popJob(redis, seconds) {
  const popped = await redis.brpop(QUEUE, seconds);
  return popped?.[1] ?? null;
}

/** Up to `count` ids, at once. From here on nobody but the caller knows of them. */
export async function popJobs(redis, count) {
  return (await redis.rpop(QUEUE, count)) ?? [];
}

export function getQueueLength(redis) {
  return redis.llen(QUEUE);
}

/** Careful: whatever waits is gone. */
export function clearQueue(redis) {
  return redis.del(QUEUE);
}

// --- the channel

export function publishJobUpdate(redis, { tenantId, jobId, status, error = null }) {
  return redis.publish(UPDATES, JSON.stringify({ tenantId, jobId, status, error }));
}

/**
 * Calls back for every update, over a connection of its own: one that subscribes can do nothing else. What it returns
 * ends that; its `ready` is there once nothing is missed any more.
 */
export function subscribeToJobUpdates(url, onUpdate) {
  const subscriber = new Redis(url);
  subscriber.on('error', () => {}); // it connects and subscribes again by itself
  subscriber.on('message', (_channel, text) => onUpdate(JSON.parse(text)));
  const unsubscribe = () => subscriber.disconnect();
  unsubscribe.ready = subscriber.subscribe(UPDATES).catch(() => {}); // it was ended before
  return unsubscribe;
}

/** Both ways over connections of their own. */
export function createPubSub(url) {
  const publisher = new Redis(url);
  const stops = new Set();
  return {
    publish: (update) => publishJobUpdate(publisher, update),
    subscribe(onUpdate) {
      const unsubscribe = subscribeToJobUpdates(url, onUpdate);
      stops.add(unsubscribe);
      return unsubscribe;
    },
    close() {
      for (const stop of stops) stop();
      publisher.disconnect();
    },
  };
}
