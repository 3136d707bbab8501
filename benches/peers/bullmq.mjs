// A BullMQ worker in Node: `node bullmq.mjs in-process|sandboxed URL QUEUE CONCURRENCY`. Prints "ready".
// In-process the job is a function call; sandboxed it goes to one of CONCURRENCY child processes, which are reused.

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const require = createRequire(`${process.env.JOBCELL_INTEROP}/agent.mjs`);
const { Worker } = require('bullmq6');

const [kind, url, queue, concurrency] = process.argv.slice(2);
const { hostname: host, port } = new URL(url);
const work =
  kind === 'sandboxed'
    ? fileURLToPath(new URL('noop.cjs', import.meta.url))
    : async (job) => ({ ok: true, i: job.data.i });
const worker = new Worker(queue, work, {
  connection: { host, port: Number(port), maxRetriesPerRequest: null },
  concurrency: Number(concurrency),
});
worker.on('error', (error) => console.error(String(error)));
await worker.waitUntilReady();
console.log('ready');
