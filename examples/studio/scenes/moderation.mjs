// Moderation, which costs money for every question: the team's own cache and Jobcell's, on the same uploads.

import { ModerationBefore } from '../moderation-before.mjs';
import { connection } from '../queues.mjs';
import { receipt } from '../studio.mjs';

const UPLOADS = 240;
// Of a hundred uploads so many were there before; the team's guide expects 30 to 50.
const REPEATS_PERCENT = 40;
const IN_FLIGHT = 24;

/** Pictures as they come: of those that come again, half go round just now, and half come back later. */
function feed() {
  let seed = 11;
  const random = () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;
  const seen = [];
  return Array.from({ length: UPLOADS }, (_, n) => {
    const isRepeat = seen.length > 0 && random() * 100 < REPEATS_PERCENT;
    const recent = random() < 0.5 ? seen.slice(-10) : seen;
    const picture = isRepeat ? recent[Math.floor(random() * recent.length)] : `picture ${n}`;
    if (!isRepeat) seen.push(picture);
    return picture;
  });
}

async function each(items, act) {
  const waiting = items.map((item, n) => [item, n]);
  const worker = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) await act(...next);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
}

const sum = async (hosts, result) => (await Promise.all(hosts.map((host) => host.metric('jobcell_result_cache_total', { handler: 'moderation', result })))).reduce((a, b) => a + b);

export async function aDayOfUploads(stage, studio, { env, hosts, app }) {
  const pictures = feed();
  const distinct = new Set(pictures).size;
  const before = new ModerationBefore(studio.ai.url, studio.key, connection(env));
  await each(pictures, (picture) => before.moderate(`before: ${picture}`));
  before.close();

  const asked = studio.asked().length;
  const [hits, misses] = [await sum(hosts, 'hit'), await sum(hosts, 'miss')];
  await each(pictures, (picture, n) => app.post(`post-${n}`, `after: ${picture}`));
  const calls = studio.asked(asked);
  stage.note(`${UPLOADS} uploads, ${distinct} different pictures`);
  stage.check('with their cache, pictures that came at the same time were paid for several times', before.calls > distinct, before.calls);
  stage.equal('with result-cache each picture was asked about once', [calls.length, new Set(calls).size], [distinct, distinct]);
  const [hit, miss] = [(await sum(hosts, 'hit')) - hits, (await sum(hosts, 'miss')) - misses];
  stage.equal('jobcell_result_cache_total says the same', [hit, miss], [UPLOADS - distinct, distinct]);
  stage.figure('uploads', UPLOADS);
  stage.figure('hit rate, percent', (100 * hit) / (hit + miss));
  stage.figure('AI calls before', before.calls);
  stage.figure('AI calls after', calls.length);
}

export async function goesRound(stage, studio, { env, hosts, app }) {
  const posts = Array.from({ length: 50 });
  const before = new ModerationBefore(studio.ai.url, studio.key, connection(env));
  await Promise.all(posts.map(() => before.moderate('before: a dance')));
  before.close();
  const asked = studio.asked().length;
  const verdicts = await Promise.all(posts.map((_, n) => app.post(`dance-${n}`, 'after: a dance')));
  stage.check(`with their cache, 50 at once asked the AI service ${before.calls} times`, before.calls > 1, before.calls);
  const calls = studio.asked(asked).length;
  stage.equal('with result-cache, 50 at once on two hosts asked once', calls, 1);
  const receipts = await Promise.all(verdicts.map(({ job }) => receipt(hosts[0], 'moderation', job)));
  stage.equal('49 receipts say that nothing was run, and name the one that was', [receipts.filter(({ cached }) => cached).length, new Set(receipts.map(({ computed_by: by }) => by)).size], [49, 2]);
  stage.figure('AI calls for 50 equal posts at once, before', before.calls);
  stage.figure('AI calls for 50 equal posts at once, after', calls);
}

export async function askedAnew(stage, studio, { app }) {
  const content = { sha256: 'ab'.repeat(32), url: 'https://cdn.example.com/ab' };
  const asked = studio.asked().length;
  studio.ai.isDown = true;
  const failed = await app.run('moderation', 'moderate', { content }, { attempts: 1 }).catch((error) => error.message);
  stage.check('the AI service is down: the job fails, and no failure is kept', /503/.test(failed), failed);
  studio.ai.isDown = false;
  await app.run('moderation', 'moderate', { content });
  await app.run('moderation', 'moderate', { content });
  stage.equal('when it is back it is asked, once', studio.asked(asked).length, 2);
  await app.run('moderation', 'moderate', { content }, { fresh: true });
  stage.equal('a moderator who asks anew (`fresh: true`) is not given the kept verdict', studio.asked(asked).length, 3);
}
