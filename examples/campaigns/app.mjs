// The team's back end: takes webhooks, starts and steers campaigns. The workers that were here are gone.
//
//   REDIS_URL, PORT, APP_TOKEN

import { createServer } from 'node:http';
import { Queue, QueueEvents, Worker } from 'bullmq';
import Redis from 'ioredis';

const connect = () => new Redis(process.env.REDIS_URL, { maxRetriesPerRequest: null });
// BullMQ connects again by itself; somebody has to listen.
const listened = (thing) => thing.on('error', (error) => console.error(error.message));

const connection = connect();
const webhooks = listened(new Queue('webhook-processing', { connection }));
const campaigns = listened(new Queue('campaign-sender', { connection }));
const campaignEvents = listened(new QueueEvents('campaign-sender', { connection: connect() }));
await campaignEvents.waitUntilReady();

// In the real thing this is a table: recipients by campaign and number, in an order that does not change.
const recipients = new Map();

// What customers write goes to the people who answer them: this worker stays in Node.
const inbox = [];
listened(new Worker('inbox', async (job) => void inbox.push(job.data), { connection: connect() }));

// Pausing and the like are jobs whose end is waited for.
async function ask(name, data) {
  const job = await campaigns.add(name, data, { removeOnComplete: 100 });
  return job.waitUntilFinished(campaignEvents, 30_000);
}

const routes = [
  // The provider waits for this answer: only take it down. The signature was made over these very bytes.
  ['POST', /^\/webhooks\/whatsapp$/, async ({ headers, body }) => {
    await webhooks.add('webhook', { signature: headers['x-hub-signature-256'], body });
    return { status: 200 };
  }],

  ['POST', /^\/campaigns$/, async ({ body }) => {
    const { id, template, recipients: list } = JSON.parse(body);
    const byNumber = new Map();
    for (const one of list) {
      if (!byNumber.has(one.number)) byNumber.set(one.number, []);
      byNumber.get(one.number).push(one);
    }
    recipients.set(id, byNumber);
    const numbers = Object.fromEntries([...byNumber].map(([number, of]) => [number, of.length]));
    const options = { jobId: id, attempts: 5, backoff: { type: 'exponential', delay: 1000 } };
    await campaigns.add('campaign', { campaign: id, template, numbers }, options);
    return { status: 202 };
  }],

  ['POST', /^\/campaigns\/([\w.-]+)\/(pause|resume)$/, async ({ path: [id, order] }) => {
    return { body: await ask(order, { campaign: id }) };
  }],

  ['GET', /^\/campaigns\/([\w.-]+)$/, async ({ path: [id] }) => {
    // The state first: a campaign that has completed is shown with the progress that it ended with.
    const state = await campaigns.getJobState(id);
    const job = await campaigns.getJob(id);
    return { body: { state, progress: job.progress, tally: await ask('tally', job.data) } };
  }],

  // The one thing that the handlers ask of us: a page of recipients.
  ['GET', /^\/internal\/campaigns\/([\w.-]+)\/recipients$/, async ({ path: [id], query, headers }) => {
    if (headers.authorization !== `Bearer ${process.env.APP_TOKEN}`) return { status: 401 };
    const from = Number(query.get('from'));
    return { body: recipients.get(id).get(query.get('number')).slice(from, from + Number(query.get('limit'))) };
  }],

  ['GET', /^\/inbox$/, async () => ({ body: inbox })],
];

async function answer(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const { pathname, searchParams } = new URL(request.url, 'http://app');
  for (const [method, pattern, handle] of routes) {
    const path = request.method === method && pathname.match(pattern)?.slice(1);
    if (path) return handle({ path, query: searchParams, headers: request.headers, body: Buffer.concat(chunks).toString() });
  }
  return { status: 404 };
}

const server = createServer(async (request, response) => {
  const { status = 200, body } = await answer(request).catch((error) => ({ status: 500, body: String(error) }));
  response.writeHead(status, { 'content-type': 'application/json' }).end(body === undefined ? '' : JSON.stringify(body));
});
server.listen(Number(process.env.PORT), '127.0.0.1', () => console.log('listening'));
