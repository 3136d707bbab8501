// A content backend: sessions, cached feeds, counters and a queue in one Redis. The web server stays as it is; what it
// does not get to in a request becomes jobs in cells, which work on the same keys.

import { building, stampede } from './scenes/feeds.mjs';
import { publishing } from './scenes/publishing.mjs';
import { sessions } from './scenes/sessions.mjs';
import { counting } from './scenes/counters.mjs';
import { outage } from './scenes/outage.mjs';
import { looking } from './scenes/looking.mjs';
import { switching } from './scenes/provider.mjs';
import { Team } from './team.mjs';

export default async function story(stage) {
  stage.title('Content backend: session:*, feed:*, post:*, cache:* and a queue in one Redis');
  const team = await Team.gather(stage);
  const redis = await stage.redis({ name: 'redis-a' });
  Object.assign(team, { redis, keys: redis.client() });
  const scene = (text, tell) => {
    stage.scene(text);
    return tell(stage, team);
  };

  await scene('Redis is there, the web server starts, Jobcell starts beside it.', looking);
  await scene('A feed is in no cache, and a hundred people ask for it at once.', stampede);
  await scene('The host that builds a feed is killed with -9, and everybody waits.', building);
  await scene('A post is published: who would miss it is shown no old feed.', publishing);
  await scene('A comment comes with a session; so do some that are over.', sessions);
  await scene('Likes and views go to the database in batches, and a host dies between two steps.', counting);
  await scene('Redis is away for ten seconds while people write comments.', outage);
  await scene('Another provider: REDIS_URL changes, nothing else.', switching);
  stage.note(`The web server is at ${team.api2.url}, Redis at ${team.redis.url}`);
}
