// The team's worker as it was: one job a message, a limiter for the queue, BullMQ's own recovery. Kept to compare.
//
//   REDIS_URL, GRAPH, WHATSAPP_TOKEN

import { Worker } from 'bullmq';
import Redis from 'ioredis';

const connection = new Redis(process.env.REDIS_URL, { maxRetriesPerRequest: null });

async function send({ data: { number, to, about } }) {
  const answer = await fetch(`${process.env.GRAPH}/${number}/messages`, {
    method: 'POST',
    headers: { authorization: `Bearer ${process.env.WHATSAPP_TOKEN}`, 'content-type': 'application/json' },
    body: JSON.stringify({ messaging_product: 'whatsapp', to, type: 'template', biz_opaque_callback_data: about }),
  });
  if (!answer.ok) throw new Error(`the provider answered ${answer.status}`);
}

const worker = new Worker('original-sender', send, {
  connection,
  concurrency: 16,
  limiter: { max: 200, duration: 1000 },
  // Quicker than the defaults of 30 s, so that the story does not wait.
  lockDuration: 1500,
  stalledInterval: 1000,
});
worker.on('error', (error) => console.error(error.message));
await worker.waitUntilReady();
console.log('ready');
