// Donations to streamers, from the payment's webhook to the overlay, and what can go wrong on the way.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FlowProducer, Queue } from 'bullmq';
import { output } from '../stage/programs.mjs';
import { People } from './people.mjs';
import { before } from './scenes/before.mjs';
import { counted } from './scenes/counted.mjs';
import { whole } from './scenes/donation.mjs';
import { away, broken, database, outage } from './scenes/faults.mjs';
import { killed } from './scenes/killed.mjs';
import { forged } from './scenes/payment.mjs';
import { Uploads } from './uploads.mjs';

const SECRETS = {
  STRIPE_WEBHOOK_SECRET: 'whsec_story',
  BACKEND_TOKEN: 'story-backend-token',
};

export default async function story(stage) {
  stage.title(
    'Donations: verify payment → process media → save → broadcast, on donationQueue, mediaQueue and overlayQueue',
  );
  const set = await place(stage);
  await before(stage, set);
  await whole(stage, set);
  await forged(stage, set);
  await broken(stage, set);
  await away(stage, set);
  await database(stage, set);
  await outage(stage, set);
  await killed(stage, set);
  await counted(stage, set);
}

/** Redis, the storage, the team's backend, a host: with the team's own variables. */
async function place(stage) {
  const redis = await stage.redis({ password: 'story-redis-password' });
  const storage = await stage.storage({ bucket: 'uploads' });
  // What the host asks of the storage and of the backend goes through here, so that the story can see and stop it.
  const toStorage = await stage.gate(storage.url);
  const port = await stage.freePort();
  const toBackend = await stage.gate(`http://127.0.0.1:${port}`);

  const env = { REDIS_HOST: '127.0.0.1', REDIS_PORT: `${redis.port}`, REDIS_PASSWORD: redis.password, ...SECRETS };
  const backend = stage.script('backend.mjs', { env: { ...env, ...storage.env(), PORT: `${port}` } });
  await backend.line(/^listening/);
  const people = new People(`http://127.0.0.1:${port}`, SECRETS.STRIPE_WEBHOOK_SECRET);
  const url = `${toBackend.url}/internal/donations`;
  const rule = `{ url = "${url}", methods = ["POST"], secrets = ["backend-token"], private = true }`;
  const hostEnv = {
    ...env,
    ...storage.env(toStorage.url),
    // In jobcell.toml: port 4000.
    JOBCELL_HANDLERS__DONATIONS__GRANTS__CONFIG__API: toBackend.url,
    JOBCELL_HANDLERS__DONATIONS__GRANTS__HTTP: `[${rule}]`,
  };
  const checked = await stage.jobcell(['check'], hostEnv);
  stage.check(
    '`jobcell check` finds Redis by REDIS_HOST, REDIS_PORT and REDIS_PASSWORD, and the storage by its AWS_ variables',
    checked.code === 0,
    checked.stdout + checked.stderr,
  );
  stage.note(checked.stdout.trim());

  const connection = redis.connection;
  const queues = ['donationQueue', 'mediaQueue', 'overlayQueue'].map((name) =>
    stage.closing(new Queue(name, { connection })),
  );
  const published = [];
  const listener = redis.client();
  listener.on('message', (_, text) => published.push(JSON.parse(text).idempotencyKey));
  await listener.subscribe('overlay');
  const photo = join(stage.folder, 'photo.jpg');
  const made = await output(process.env.JOBCELL_PHOTO, [photo]);
  if (made.code !== 0) throw new Error(`no photograph: ${made.stderr}`);
  return {
    redis,
    storage,
    toStorage,
    toBackend,
    people,
    env,
    hostEnv,
    queues,
    published,
    flows: stage.closing(new FlowProducer({ connection })),
    uploads: new Uploads({ endpoint: storage.url, ...storage }),
    photo: await readFile(photo),
    ada: stage.closing(await people.overlay('ada')),
    linus: stage.closing(await people.overlay('linus')),
    host: await stage.host({ env: hostEnv }),
  };
}
