// The flow that one writes first, and workers for it in Node, as the team had them: broadcast ← save ← media ← verify,
// each with the failure option that it seems to want. It is not what runs now; the story shows what is wrong with it.
//
// REDIS_HOST, REDIS_PORT, REDIS_PASSWORD and STRIPE_WEBHOOK_SECRET are in the environment.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { UnrecoverableError, Worker } from 'bullmq';
import { connection } from './producer.mjs';

/** Apart from the queues of the same names that Jobcell works. */
export const prefix = 'before';

export function chain(donation, webhook) {
  const verify = {
    name: 'verify',
    queueName: 'donationQueue',
    data: webhook,
    opts: { failParentOnFailure: true }, // a payment that is none fails what comes after it
  };
  const media = {
    name: 'media',
    queueName: 'mediaQueue',
    data: donation,
    opts: { ignoreDependencyOnFailure: true }, // a picture that is none fails nothing
    children: [verify],
  };
  const save = { name: 'save', queueName: 'donationQueue', data: donation, children: [media] };
  return { name: 'broadcast', queueName: 'overlayQueue', data: donation, children: [save] };
}

const steps = {
  verify: ({ headers, body }) => {
    const [, at, given] = headers['stripe-signature'].match(/^t=(\d+),v1=(\w+)$/) ?? [];
    const made = createHmac('sha256', process.env.STRIPE_WEBHOOK_SECRET).update(`${at}.${body}`).digest('hex');
    if (!given || !timingSafeEqual(Buffer.from(given), Buffer.from(made)))
      throw new UnrecoverableError('bad signature');
  },
  media: () => {},
  save: ({ donation }) => console.log(`saved ${donation}`),
  broadcast: ({ donation }) => console.log(`broadcast ${donation}`),
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const run = async (job) => steps[job.name](job.data) ?? null;
  const queues = ['donationQueue', 'mediaQueue', 'overlayQueue'];
  const workers = queues.map((queue) => new Worker(queue, run, { connection: connection(), prefix }));
  await Promise.all(workers.map((worker) => worker.waitUntilReady()));
  console.log('working');
  process.once('SIGTERM', () => Promise.all(workers.map((worker) => worker.close())).then(() => process.exit(0)));
}
