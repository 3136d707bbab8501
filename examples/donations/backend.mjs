// The team's backend: takes donors' uploads and checkouts, the payment provider's webhooks, and what is to be saved;
// serves the overlays. Before Jobcell it also had the workers of the three queues.
//
// PORT, REDIS_HOST, REDIS_PORT, REDIS_PASSWORD, BACKEND_TOKEN and the storage's AWS_ variables are its .env.local.

import { randomUUID, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import { Database } from './database.mjs';
import { Overlays } from './overlays.mjs';
import { Donations, connection } from './producer.mjs';
import { Uploads } from './uploads.mjs';

const database = new Database(process.env.DATABASE ?? 'donations.jsonl');
const uploads = Uploads.fromEnv('uploads');
const donations = new Donations();
const checkouts = new Map();
const outcomes = new Map();

/** What each address does: `{status, body}`. */
const routes = {
  // A donor's picture, before paying: what is stored is looked at later, when it is paid for.
  'POST /uploads': async ({ body, headers }) => {
    const key = `in/${randomUUID()}`;
    await uploads.put(`donations/${key}`, body, headers['content-type'] ?? 'application/octet-stream');
    return { status: 201, body: { picture: key } };
  },

  'POST /checkouts': async ({ body }) => {
    const donation = `don_${checkouts.size + 1}`;
    checkouts.set(donation, { ...JSON.parse(body), donation });
    return { status: 201, body: { donation } };
  },

  // Answers as soon as the job is stored; nobody waits for the media or the database.
  'POST /webhooks/stripe': async ({ body, headers }) => {
    // Which checkout it is about. Nothing else is believed before the signature was checked.
    const donation = JSON.parse(body).data?.object?.client_reference_id;
    const checkout = checkouts.get(donation);
    if (!checkout) return { status: 404, body: { error: 'no such checkout' } };
    const job = await donations.accept(checkout, { headers, body: body.toString() });
    outcomes.set(job.id, donations.outcome(job));
    return { status: 200, body: { job: job.id } };
  },

  'POST /internal/donations': async ({ body, headers }) => {
    if (!isOurs(headers.authorization)) return { status: 401, body: { error: 'not our token' } };
    const { row, isNew } = database.insert(headers['idempotency-key'], JSON.parse(body));
    return { status: isNew ? 201 : 200, body: { id: row.id } };
  },

  'GET /donations': async () => ({ status: 200, body: database.rows }),

  // What the donor's page waits for.
  'GET /outcome': async ({ query }) => ({ status: 200, body: await outcomes.get(query.get('job')) }),
};

function isOurs(authorization = '') {
  const [given, ours] = [authorization, `Bearer ${process.env.BACKEND_TOKEN}`].map((text) => Buffer.from(text));
  return given.length === ours.length && timingSafeEqual(given, ours);
}

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const { pathname, searchParams: query } = new URL(request.url, 'http://backend');
  const route = routes[`${request.method} ${pathname}`] ?? (async () => ({ status: 404, body: {} }));
  const told = await route({ body: Buffer.concat(chunks), headers: request.headers, query }).catch((error) => {
    console.error(error);
    return { status: 500, body: { error: error.message } };
  });
  response.writeHead(told.status, { 'content-type': 'application/json' }).end(JSON.stringify(told.body));
});

const overlays = new Overlays(server, connection());
await Promise.all([donations.ready(), overlays.ready()]);
server.listen(Number(process.env.PORT ?? 4000), '127.0.0.1', () =>
  console.log(`listening on ${server.address().port}`),
);

process.once('SIGTERM', async () => {
  overlays.close();
  server.closeAllConnections();
  server.close();
  await donations.close();
  process.exit(0);
});
