// A new post makes cached feeds wrong.

import { Visitor } from '../team.mjs';

export async function publishing(stage, team) {
  const { api1: api, keys } = team;
  const [ada, grace, bob, passer] = await Promise.all(['ada', 'grace', 'bob', null].map((user) => Visitor.at(api, user)));
  const titles = async (visitor) => (await visitor.ask('GET', '/feed?page=2')).body.posts.map(({ title }) => title);
  for (const visitor of [grace, bob, passer]) await titles(visitor);
  const sessions = (await keys.keys('session:*')).length;
  const bobs = await keys.keys('feed:user:bob:*');

  const posted = await ada.ask('POST', '/posts', { title: 'On compilers' });
  stage.equal('the post is published', posted.status, 201);
  await stage.until('old feeds are forgotten', async () => (await keys.keys('feed:global:*')).length === 0);
  stage.equal('followers see it at once', await titles(grace), ['On compilers']);
  stage.equal('and so does who is not logged in', await titles(passer), ['On compilers']);
  stage.equal('who does not follow her keeps the feed they have', await keys.keys('feed:user:bob:*'), bobs);
  stage.equal('sessions are where they were', (await keys.keys('session:*')).length, sessions);
  const page = `cache:post:${posted.body.id}`;
  await stage.until('its page is in the cache', async () => (await keys.exists(page)) === 1);
  stage.equal('its page is in the cache before anybody asks for it', JSON.parse(await keys.get(page)).title, 'On compilers');
  const lifetime = await keys.ttl(page);
  stage.check('for the hour that the bucket says', lifetime > 3000 && lifetime <= 3600, lifetime);
  team.post = posted.body.id;
}
