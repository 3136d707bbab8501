// A campaign of 3,000 over two business numbers, with everything that goes wrong on such an evening.

import { Queue } from 'bullmq';
import { Provider, signed } from './provider.mjs';

const SECRETS = {
  WHATSAPP_APP_SECRET: 'story-app-secret',
  WHATSAPP_TOKEN: 'story-access-token',
  APP_TOKEN: 'story-internal-token',
};
const NUMBERS = ['105500000000001', '105500000000002'];
const SALE = 'spring-sale';
// As in jobcell.toml, and what the provider allows: the team stays below it.
const RATE = 120;
const LIMIT = 132;
const PER_NUMBER = 1_500;
// Attempts at once of one queue on one host.
const CONCURRENCY = 16;
// Statuses in one webhook.
const BUNDLE = 250;

export default async function story(stage) {
  stage.title('Campaigns: webhooks in, 3,000 messages out, on webhook-processing, campaign-sender and messages-<number>');
  const set = await place(stage);
  await incoming(stage, set);
  await launch(stage, set);
  await throttled(stage, set);
  await paused(stage, set);
  await killed(stage, set);
  await redisAway(stage, set);
  await ended(stage, set);
  await told(stage, set);
  await original(stage, set);
}

/** The provider, the team's back end, a Redis and a host. */
async function place(stage) {
  const redis = await stage.redis();
  const provider = await Provider.start(stage, { limit: LIMIT, token: SECRETS.WHATSAPP_TOKEN });
  const port = await stage.freePort();
  const app = `http://127.0.0.1:${port}`;
  const backend = stage.script('app.mjs', { env: { REDIS_URL: redis.url, PORT: `${port}`, ...SECRETS } });
  await backend.line(/^listening/);

  const rules = [
    `{ url = "${provider.url}", methods = ["POST"], secrets = ["whatsapp-token"], private = true }`,
    `{ url = "${app}/internal/*", methods = ["GET"], secrets = ["app-token"], private = true }`,
  ];
  const env = {
    REDIS_URL: redis.url,
    ...SECRETS,
    // In jobcell.toml: graph.facebook.com and app.internal.
    JOBCELL_HANDLERS__CAMPAIGNS__GRANTS__HTTP: `[${rules.join(', ')}]`,
    JOBCELL_HANDLERS__CAMPAIGNS__GRANTS__CONFIG__GRAPH: `${provider.url}/v23.0`,
    JOBCELL_HANDLERS__CAMPAIGNS__GRANTS__CONFIG__APP: app,
  };
  const checked = await stage.jobcell(['check'], env);
  stage.check('`jobcell check` finds Redis by the REDIS_URL that the team has',
    checked.code === 0, checked.stdout + checked.stderr);
  stage.note(checked.stdout.trim());
  stage.note(`the back end is at ${app}, Redis at ${redis.url}`);
  const set = { redis, provider, env, app, host: await stage.host({ env, name: 'host-1' }) };
  set.queue = (name) => stage.closing(new Queue(name, { connection: redis.connection }).on('error', () => {}));
  set.webhooks = set.queue('webhook-processing');
  set.messages = NUMBERS.map((number) => set.queue(`messages-${number}`));
  set.get = async (path) => (await fetch(app + path)).json();
  set.post = async (path, body, headers = {}) => fetch(app + path, { method: 'POST', body, headers });
  set.tell = ({ body, signature }) => set.post('/webhooks/whatsapp', body, signature && { 'x-hub-signature-256': signature });
  set.launch = (id, recipients) =>
    set.post('/campaigns', JSON.stringify({ id, template: { name: 'spring', language: 'en_US' }, recipients }));
  set.tally = async (id) => (await set.get(`/campaigns/${id}`)).tally;
  return set;
}

const phone = (number, place) => `49151${NUMBERS.indexOf(number)}${String(place).padStart(6, '0')}`;
const written = (id, from, text) =>
  signed({ messages: [{ id, from, type: 'text', text: { body: text } }] }, SECRETS.WHATSAPP_APP_SECRET);

async function incoming(stage, set) {
  stage.scene('Webhooks: a customer writes, the provider repeats itself, somebody forges');
  const hello = written('wamid.IN1', phone(NUMBERS[0], 5), 'Is it still on sale?');
  const stop = written('wamid.IN2', phone(NUMBERS[0], 7), 'STOP');
  const forged = { ...written('wamid.IN3', phone(NUMBERS[0], 9), 'STOP'), signature: hello.signature };
  const unsigned = { ...written('wamid.IN4', phone(NUMBERS[0], 9), 'STOP'), signature: undefined };
  const answers = await Promise.all([hello, hello, stop, stop, forged, unsigned].map((webhook) => set.tell(webhook)));
  stage.check('the web server answers 200 to all six: it only puts them on the queue',
    answers.every(({ status }) => status === 200));
  const failed = await stage.until('the forged ones have failed', async () => {
    const [counts, jobs] = [await set.webhooks.getJobCounts(), await set.webhooks.getFailed()];
    return counts.completed === 4 && jobs.length === 2 && jobs;
  });
  stage.check('the forged one and the one without a signature are refused for good',
    failed.every((job) => /^bad signature/.test(job.failedReason)));
  for (const job of failed) stage.note(`${job.id}: ${job.failedReason}`);
  const inbox = await stage.until('the customer is heard', async () => {
    const heard = await set.get('/inbox');
    return heard.length >= 2 && heard;
  });
  stage.equal('what came twice is handed on once', inbox.map(({ id }) => id).sort(), ['wamid.IN1', 'wamid.IN2']);
}

async function launch(stage, set) {
  const all = NUMBERS.length * PER_NUMBER;
  stage.scene(`A campaign of ${all} begins: ${RATE} a second for each number, where the provider allows ${LIMIT}`);
  const recipients = NUMBERS.flatMap((number) => Array.from({ length: PER_NUMBER }, (_, place) => (
    { number, to: phone(number, place), parameters: [`customer ${place}`], optedOut: place % 100 === 3 })));
  // Ten have no WhatsApp. All of them are asked for before the kill: what is on its way then is uncertain, whoever it is to.
  for (let place = 11; place < 300; place += 30) set.provider.unknown.add(phone(NUMBERS[1], place));
  set.launched = Date.now();
  await set.launch(SALE, recipients);
  await stage.until('messages go out', () => set.provider.of(SALE).length >= 200);
  const { status, redis, queues } = await set.host.get('/health');
  const ofNumbers = NUMBERS.map((number) => queues[`messages-${number}`].jobs);
  stage.check('/health has the queues: what waits, what runs, what has failed',
    status === 'healthy' && redis.status === 'connected' && ofNumbers.every(({ completed }) => completed > 0));
  for (const name of ['webhook-processing', 'campaign-sender', ...NUMBERS.map((number) => `messages-${number}`)]) {
    const { waiting, active, delayed, completed, failed } = queues[name].jobs;
    stage.note(`${name}: ${waiting} waiting, ${active} active, ${delayed} delayed, ${completed} completed, ${failed} failed`);
  }
  stage.check('the queues stay short: at most a window of 300 for each number, not the whole list',
    ofNumbers.every(({ waiting }) => waiting <= 300));
}

async function throttled(stage, { provider }) {
  const [resting, other] = NUMBERS;
  stage.scene(`The provider throttles number ${resting} for two seconds: 429 with Retry-After`);
  const count = (number) => provider.of(SALE).filter((one) => one.number === number).length;
  const before = [count(resting), count(other)];
  provider.throttle(resting, 2_000);
  await stage.until('the throttle is over and the number sends again',
    () => provider.throttled > 0 && count(resting) > before[0] + 2 * CONCURRENCY);
  const meanwhile = count(other) - before[1];
  stage.check('the number rests as a whole: only what was on its way asked in vain',
    provider.throttled <= RATE, provider.throttled);
  stage.check('the other number went on', meanwhile >= RATE / 4, meanwhile);
  stage.figure('429s for a throttle in which 240 messages would have gone out', provider.throttled);
  stage.figure('messages of the other number meanwhile', meanwhile);
}

async function paused(stage, set) {
  const { provider } = set;
  stage.scene('One campaign is paused; another one of the same numbers is not');
  await stage.until('a good part is out', () => provider.of(SALE).length >= 900);
  await set.post(`/campaigns/${SALE}/pause`);
  const before = provider.of(SALE).length;
  const receipts = NUMBERS.flatMap((number) => (
    Array.from({ length: 20 }, (_, place) => ({ number, to: phone(number, 900_000 + place) }))));
  await set.launch('receipts', receipts);
  await stage.until('the other campaign has ended', async () => (await set.get('/campaigns/receipts')).state === 'completed');
  stage.equal('the other campaign goes through meanwhile', provider.books('receipts'), { reached: 40, twice: 0 });
  // What was sent before is still reported by the provider, however slow the machine: only then is it quiet, or not.
  await stage.until('what had begun is done', async () => {
    const { queues } = await set.host.get('/health');
    return ['webhook-processing', ...NUMBERS.map((number) => `messages-${number}`)]
      .every((name) => queues[name].jobs.waiting + queues[name].jobs.active + queues[name].jobs.delayed === 0);
  });
  const begun = () => set.host.metric('jobcell_jobs_total');
  const cpu = () => set.host.metric('process_cpu_seconds_total');
  const [jobsBefore, cpuBefore, since] = [await begun(), await cpu(), Date.now()];
  await new Promise((later) => setTimeout(later, 1_500));
  const [jobs, cpuSeconds] = [(await begun()) - jobsBefore, (await cpu()) - cpuBefore];
  const after = provider.of(SALE).length - before;
  stage.check('nothing more goes out than was being sent', after <= 2 * CONCURRENCY, after);
  stage.check('what is paused does not go round in circles', jobs <= 10, jobs);
  const { progress } = await set.get(`/campaigns/${SALE}`);
  stage.check('the progress says so', progress.paused === true && progress.waiting > 0, progress);
  stage.note(JSON.stringify(progress));
  stage.figure('messages sent after the pause was acknowledged', after);
  stage.figure('attempts of the host while paused, a second', jobs / ((Date.now() - since) / 1_000));
  stage.figure('processor while paused, %', cpuSeconds * 100_000 / (Date.now() - since));
  await set.post(`/campaigns/${SALE}/resume`);
}

async function killed(stage, set) {
  const { provider } = set;
  stage.scene('kill -9 of the host while the provider has six messages that it has not answered yet');
  await stage.until('it goes on', () => provider.of(SALE).length >= 1_300);
  await provider.hold(6);
  await set.host.kill();
  provider.release();
  set.host = await stage.host({ env: set.env, name: 'host-2' });
  const before = provider.of(SALE).length;
  await stage.until('the other host goes on', () => provider.of(SALE).length > before + 200);
  const ran = await set.host.metric('jobcell_jobs_total', { handler: 'campaigns', outcome: 'completed' });
  stage.check('another host goes on where it was', ran >= 100, ran);
  stage.equal('no message went out twice', provider.books(SALE).twice, 0);
}

async function redisAway(stage, set) {
  stage.scene('Redis is killed as well, and comes back');
  await stage.until('it goes on', () => set.provider.of(SALE).length >= 2_000);
  await set.redis.down();
  await stage.until('the host has noticed', async () => (await set.host.api('GET', '/readyz')).status === 503);
  const { redis } = await set.host.get('/health');
  stage.check('/health says that Redis is away', redis.status === 'disconnected', redis);
  stage.note(redis.message);
  const before = set.provider.of(SALE).length;
  await set.redis.up();
  await stage.until('messages go out again', () => set.provider.of(SALE).length > before + 50);
  stage.equal('no message went out twice', set.provider.books(SALE).twice, 0);
}

async function ended(stage, set) {
  const { provider } = set;
  stage.scene('The campaign ends');
  const { progress } = await stage.until('it has completed', async () => {
    const campaign = await set.get(`/campaigns/${SALE}`);
    return campaign.state === 'completed' && campaign;
  }, { within: 120_000 });
  const seconds = (Date.now() - set.launched) / 1_000;
  stage.equal('its progress is at 100 %', progress.percent, 100);
  const tally = await set.tally(SALE);
  stage.note(JSON.stringify(tally));
  const { sent, failed, uncertain, skipped } = tally;
  stage.equal('sent + failed + uncertain + skipped = recipients', sent + failed + uncertain + skipped, NUMBERS.length * PER_NUMBER);
  stage.equal('failed are the ten without WhatsApp, skipped those who opted out and the one who wrote STOP', [failed, skipped], [10, 31]);
  stage.check('uncertain are the six unanswered ones, and what else was on its way at the kill and the outage',
    uncertain >= 6 && uncertain <= 4 * CONCURRENCY, uncertain);
  const { reached, twice } = provider.books(SALE);
  stage.equal('nobody got it twice', twice, 0);
  stage.check('the provider has all that is called sent, and nothing beside it but what is called uncertain',
    sent <= reached && reached <= sent + uncertain, reached);
  stage.equal('429s, the pause and the outages used no attempt', await mostAttempts(set.messages), 1);
  stage.check('pacing works: hardly ever was a number too fast for the provider', provider.tooFast < reached / 10, provider.tooFast);
  stage.figure('campaign, seconds from launch to the last recipient', seconds);
  stage.figure(`most messages of one number in any second, of ${LIMIT} allowed`, Math.max(...NUMBERS.map((number) => provider.peak(number))));
  stage.figure('429s because a number was too fast', provider.tooFast);
  stage.figure('messages that somebody got twice', twice);
  set.tallied = tally;
}

/** The most attempts that a message has used. */
async function mostAttempts(queues) {
  const jobs = (await Promise.all(queues.map((queue) => queue.getJobs(['completed', 'failed'])))).flat();
  return Math.max(...jobs.map((job) => job.attemptsMade));
}

async function told(stage, set) {
  stage.scene('The provider tells what became of the messages, in signed bundles, some of them twice');
  const { reached } = set.provider.books(SALE);
  const statuses = set.provider.of(SALE).flatMap(({ id, to, about }, at) => {
    const words = at % 3 === 0 ? ['sent', 'delivered', 'read'] : ['sent', 'delivered'];
    return words.map((status) => ({ id, status, recipient_id: to, biz_opaque_callback_data: about }));
  });
  const bundles = [];
  for (let at = 0; at < statuses.length; at += BUNDLE) {
    bundles.push(signed({ statuses: statuses.slice(at, at + BUNDLE) }, SECRETS.WHATSAPP_APP_SECRET));
  }
  bundles.push(...bundles.slice(0, 3));
  const before = (await set.webhooks.getJobCounts('completed')).completed;
  await Promise.all(bundles.map((bundle) => set.tell(bundle)));
  await stage.until('all are processed', async () => {
    const { completed } = await set.webhooks.getJobCounts('completed');
    return completed === before + bundles.length;
  }, { within: 60_000 });
  const { sent, delivered, read, uncertain } = await set.tally(SALE);
  stage.equal('sent, delivered and read are what the provider knows', [sent, delivered, read], [reached, reached, Math.ceil(reached / 3)]);
  stage.equal('what was uncertain and had gone out is known now; what had not is still told as uncertain',
    uncertain, set.tallied.sent + set.tallied.uncertain - reached);
  stage.figure('uncertain at the end, and after the provider had told', `${set.tallied.uncertain}, ${uncertain}`);

  const ended = (outcome) => set.host.metric('jobcell_jobs_total', { handler: 'campaigns', outcome });
  const timed = await set.host.metric('jobcell_job_seconds_count', { queue: `messages-${NUMBERS[0]}` });
  const [completed, limited] = [await ended('completed'), await ended('rate-limited')];
  stage.check('/metrics has every attempt by queue, handler and outcome, with its time', completed > 0 && timed > 0);
  stage.note(`host-2 alone: ${completed} attempts completed, ${limited} rate-limited`);
  const cpu = await set.host.metric('jobcell_cell_cpu_seconds_total', { handler: 'campaigns' });
  stage.figure('processor time of an attempt in its cell, ms', (1_000 * cpu) / completed);
}

async function original(stage, { redis, queue }) {
  const COUNT = 300;
  stage.scene('The same with the worker that the team had: a limiter, a job a message, kill -9 with six unanswered');
  const provider = await Provider.start(stage, { limit: 1_000, token: SECRETS.WHATSAPP_TOKEN });
  const env = { REDIS_URL: redis.url, GRAPH: `${provider.url}/v23.0`, ...SECRETS };
  const sender = queue('original-sender');
  await sender.addBulk(Array.from({ length: COUNT }, (_, place) => {
    const data = { number: NUMBERS[0], to: phone(NUMBERS[0], place), about: `original/${NUMBERS[0]}/${place}` };
    return { name: 'message', data, opts: { attempts: 3 } };
  }));
  const first = stage.script('original.mjs', { env });
  await first.line(/^ready/);
  await stage.until('messages go out', () => provider.taken.length >= 40);
  await provider.hold(6);
  first.kill();
  await first.ended;
  provider.release();
  const second = stage.script('original.mjs', { env });
  await second.line(/^ready/);
  const done = async () => (await sender.getJobCounts('completed')).completed >= COUNT;
  await stage.until('all are done', done, { within: 60_000 });
  const { reached, twice } = provider.books('original');
  stage.check('its recipients were written to twice', reached === COUNT && twice >= 6, { reached, twice });
  stage.figure('messages that somebody got twice, with the original worker', twice);
}
