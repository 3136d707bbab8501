// The team's one Redis client, for everything: REDIS_URL says where it is.

import Client from 'ioredis';

export const url = process.env.REDIS_URL ?? 'redis://127.0.0.1:6379';

let connected = false;
export const isConnected = () => connected;

/** A client that waits for Redis to come back instead of giving up. */
export function connect(options = {}) {
  return new Client(url, { maxRetriesPerRequest: null, retryStrategy: () => 100, ...options });
}

export const redis = connect();
redis.on('ready', () => {
  connected = true;
  console.log('Redis connected and ready');
});
redis.on('close', () => {
  if (connected) console.log('Redis connection closed, reconnecting');
  connected = false;
});
redis.on('error', (error) => console.log(`Redis connection error: ${error.message}`));
