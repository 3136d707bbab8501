// Likes and views: counted in Redis, written to the database in batches, each once.

import { Visitor, many } from '../team.mjs';

const PEOPLE = 40;
const VIEWS = 300;

export async function counting(stage, team) {
  const { api1: api, database, keys, redis, post } = team;
  const people = await many(PEOPLE, (i) => Visitor.at(api, `user${i}`));
  const clicks = async () => {
    // Two clicks of the same person are one like.
    for (const _ of [1, 2]) await Promise.all(people.map((person) => person.ask('POST', `/posts/${post}/like`)));
    await many(VIEWS, (i) => people[i % PEOPLE].ask('POST', `/posts/${post}/view`));
  };

  const hold = database.hold((method, path) => path === '/counters');
  const repeats = database.repeats;
  const clicking = clicks();
  await hold.held;
  stage.note('a batch is in the database, and the host has not heard so when it is killed');
  await team.host2.kill();
  hold.letGo();
  team.host3 = await team.host(redis.url);
  await clicking;
  await many(VIEWS, (i) => people[i % PEOPLE].ask('POST', `/posts/${post}/view`));

  const shown = { [`${post}:likes`]: PEOPLE, [`${post}:views`]: 2 * VIEWS };
  const inRedis = async () => Object.fromEntries(await Promise.all(Object.keys(shown).map(async (key) => [key, Number(await keys.get(`post:${key}`))])));
  stage.equal('the web server shows every click', await inRedis(), shown);
  await stage.until('the database has caught up', () => Object.entries(shown).every(([key, total]) => (database.totals[key] ?? 0) >= total));
  stage.equal('the database has every click once', database.totals, shown);
  stage.check('the batch was sent again, and applied once', database.repeats > repeats, database.repeats);
  stage.figure('likes and views clicked', PEOPLE + 2 * VIEWS);
  stage.figure('likes and views in the database', Object.values(database.totals).reduce((sum, total) => sum + total));
}
