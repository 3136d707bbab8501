// Redis is away, and comes back with what it had.

import { Queue } from 'bullmq';
import { Visitor } from '../team.mjs';

const AWAY_MS = 10_000;
const EVERY_MS = 50;

const pause = (ms) => new Promise((next) => setTimeout(next, ms));

export async function outage(stage, team) {
  const { api1: api, database, host3: host, keys, redis, post } = team;
  const grace = await Visitor.at(api, 'grace');
  const [before, repeats] = [database.comments.length, database.repeats];
  // One job is in the middle: saved in the database, and nothing of it in Redis yet.
  const hold = database.hold((method, path) => path === '/comments');
  const [asked, viewed] = [[], []];
  let going = true;
  const writing = (async () => {
    for (let i = 0; going; i += 1) {
      viewed.push(grace.ask('POST', `/posts/${post}/view`));
      asked.push(grace.ask('POST', `/posts/${post}/comments`, { text: `comment ${i}`, id: `comment-${i}` }));
      await pause(EVERY_MS);
    }
  })();
  await hold.held;
  await pause(500);
  const sent = asked.length;
  await redis.down();
  hold.letGo();
  await host.line(/WARN.*(redis|store)/i);
  await stage.until('the host says that it is not ready', async () => !(await fetch(`${host.url}/readyz`)).ok);
  await pause(AWAY_MS);
  const during = asked.length - sent;
  await redis.up();
  await stage.until('the host is ready again', async () => (await fetch(`${host.url}/readyz`)).ok);
  await pause(500);
  going = false;
  await writing;
  const acknowledged = (await Promise.all(asked)).filter(({ status }) => status === 202).length;

  for (const line of host.lines.filter((line) => /WARN|INFO.*(redis|store)/i.test(line)).slice(0, 3)) stage.note(`host  ${line}`);
  for (const line of api.program.lines.filter((line) => /^Redis conn/.test(line) && !/error/.test(line)).slice(-2)) stage.note(`api   ${line}`);
  const views = Math.max(...(await Promise.all(viewed)).filter(({ status }) => status === 200).map(({ body }) => body.views));
  stage.check('people went on writing', during > 50, during);
  stage.equal('every comment was acknowledged', acknowledged, asked.length);
  const queue = stage.closing(new Queue('content', { connection: redis.connection }));
  queue.on('error', () => {});
  await stage.until('all of their jobs are done', async () => {
    const states = await Promise.all(asked.map((_, i) => queue.getJobState(`comment-${i}`)));
    return states.every((state) => state === 'completed');
  });
  const texts = database.comments.slice(before).map(({ text }) => text);
  stage.figure('comments acknowledged around an outage of 10 s', acknowledged);
  stage.figure('comments saved', texts.length);
  stage.check('one whose job was running came to the database again, under the same key', database.repeats > repeats, database.repeats - repeats);
  stage.equal('every one of them is saved, and saved once', new Set(texts).size, texts.length);
  stage.equal('as many as were acknowledged', texts.length, acknowledged);
  // A view whose answer was lost may be counted again by the web server's client; none is lost.
  const counter = `${post}:views`;
  stage.check('no view that was shown is lost', Number(await keys.get(`post:${counter}`)) >= views, views);
  await stage.until('the database has every view', async () => (database.totals[counter] ?? 0) >= Number(await keys.get(`post:${counter}`)));
  stage.equal('and has each once', database.totals[counter], Number(await keys.get(`post:${counter}`)));
  await stage.until('the number is shown', async () => Number(await keys.get(`post:${post}:comments`)) === database.comments.length);
}
