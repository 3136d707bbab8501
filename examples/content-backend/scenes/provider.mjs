// From one Redis to another by REDIS_URL alone.

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Visitor } from '../team.mjs';

export async function switching(stage, team) {
  const { database, post } = team;
  const config = async () => createHash('sha256').update(await readFile(join(stage.folder, 'jobcell.toml'))).digest('hex');
  const before = await config();
  const likes = database.totals[`${post}:likes`];
  await team.api1.program.stop();
  stage.equal('the host ends what it runs and stops', await team.host3.stop(), 0);

  // Another provider: a password, and nothing written to disk.
  const redis = await stage.redis({ name: 'redis-b', password: 'p4ssw0rd', args: ['--appendonly', 'no'] });
  const tried = async (url) => {
    const { code, stdout, stderr } = await stage.jobcell(['check'], team.hostEnv(url));
    return { code, line: (stdout + stderr).split('\n').find((line) => /^FAULT/.test(line)) ?? stdout + stderr };
  };
  for (const [what, url, code] of [
    ['the password is missing', redis.url.replace(':p4ssw0rd@', ''), /NOAUTH/],
    ['it is wrong', redis.url.replace('p4ssw0rd', 'guess'), /WRONGPASS|invalid/],
  ]) {
    const found = await tried(url);
    stage.note(found.line);
    stage.check(`${what}: check says so, and what to set`, found.code === 69 && code.test(found.line) && /REDIS_PASSWORD/.test(found.line), found);
    stage.check('without showing the password', !/guess|p4ssw0rd/.test(found.line), found.line);
  }

  team.redis = redis;
  team.api2 = await team.api(redis.url);
  team.host4 = await team.host(redis.url);
  const keys = redis.client();
  const [grace, edith] = await Promise.all(['grace', 'edith'].map((user) => Visitor.at(team.api2, user)));
  const feed = await grace.ask('GET', '/feed?page=1');
  stage.equal('feeds are built there', feed.body?.posts?.map(({ title }) => title), ['On compilers']);
  const liked = await edith.ask('POST', `/posts/${post}/like`);
  stage.equal('counters go on from what the database has', liked.body, { likes: likes + 1 });
  await stage.until('the like is in the database', () => database.totals[`${post}:likes`] > likes);
  stage.equal('which gets the new like and nothing twice', database.totals[`${post}:likes`], likes + 1);
  stage.equal('jobcell.toml is the same', await config(), before);

  const checked = await stage.jobcell(['check'], team.hostEnv(redis.url));
  const rows = checked.stdout.split('\n').filter((line) => /bucket (feeds|sessions)|appendonly/.test(line));
  for (const line of rows) stage.note(line);
  stage.check('check counts what is in the cache now', rows.some((line) => /bucket feeds: .*; 1 there now/.test(line)), checked.stdout);
  stage.check('and the sessions', rows.some((line) => /bucket sessions: .*; 2 there now/.test(line)), checked.stdout);
  stage.check('and warns of a Redis that forgets sessions when it restarts', rows.some((line) => /appendonly/.test(line)), checked.stdout);
  stage.equal('nothing is left in the new Redis that belongs to nobody', (await keys.keys('*')).filter((key) => !/^(session:sess|feed|post|user|cache|bull|jobcell-\w+)[:/]/.test(key)), []);
}
