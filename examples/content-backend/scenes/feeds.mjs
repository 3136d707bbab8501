// Get-or-set under a stampede: the web server's own, and the one in cells.

import { Visitor, many } from '../team.mjs';

const CROWD = 100;

/** Everybody asks at once: what they got, and how often the database was asked. */
async function crowd(team, api, user) {
  const visitors = await many(CROWD, () => Visitor.at(api, user));
  const before = team.database.feedQueries;
  const answers = await Promise.all(visitors.map((visitor) => visitor.ask('GET', '/feed?page=1')));
  return { answers, queries: team.database.feedQueries - before };
}

export async function stampede(stage, team) {
  const before = await team.api(team.redis.url, { FEEDS: 'in-process' });
  const theirs = await crowd(team, before, 'bob');
  stage.note(`the web server's own get-or-set: ${CROWD} requests, ${theirs.queries} queries of the database`);
  await before.program.stop();

  const ours = await crowd(team, team.api1, 'grace');
  stage.figure('database queries for 100 requests at once, in the web server', theirs.queries);
  stage.figure('database queries for 100 requests at once, in cells', ours.queries);
  stage.check('in the web server, whoever finds nothing asks the database', theirs.queries > 1, theirs.queries);
  stage.equal('as jobs, one of a hundred cells builds the feed', ours.queries, 1);
  stage.check('and everybody was shown it', ours.answers.every(({ status, body }) => status === 200 && body.for === 'grace'), ours.answers[0]);
  const [key] = await team.keys.keys('feed:user:grace:*');
  const lives = await team.keys.ttl(key);
  stage.check(`it lies under ${key} for ten minutes`, lives > 500 && lives <= 600, lives);
  const again = await crowd(team, team.api1, 'grace');
  stage.equal('a hundred more requests ask nobody', again.queries, 0);
}

export async function building(stage, team) {
  const { database, redis, api1, host1 } = team;
  const hold = database.hold((method, path) => path === '/feed');
  const before = database.feedQueries;
  const asked = crowd(team, api1, 'edith');
  await hold.held;
  await stage.until('many cells wait for the one that builds', async () => (await host1.metric('jobcell_cells_active')) >= CROWD / 2);
  await host1.kill();
  team.host2 = await team.host(redis.url);
  const { answers } = await asked;
  hold.letGo();
  stage.check('all of them were answered', answers.every(({ status, body }) => status === 200 && body.for === 'edith'), answers.find(({ status }) => status !== 200));
  stage.equal('another cell took over, once: two queries in all', database.feedQueries - before, 2);
}
