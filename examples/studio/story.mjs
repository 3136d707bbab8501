// A social video app: five queues and moderation. First without Redis, then with the Redis of their guide.

import { everyQueue, moderatedOnce, startsWithoutRedis } from './scenes/alone.mjs';
import { killedInTheMiddle } from './scenes/killed.mjs';
import { aDayOfUploads, askedAnew, goesRound } from './scenes/moderation.mjs';
import { countsAreTheSame, overTls, startsWithRedis, threeStates } from './scenes/redis.mjs';
import { Studio } from './studio.mjs';

export default async function story(stage) {
  stage.title('Studio: video-enhancement, analytics, chain-sync, memory-mining, privacy-audit, and moderation by content');
  const studio = await Studio.open(stage);
  const scene = async (text, tell, ...more) => {
    stage.scene(text);
    return tell(stage, studio, ...more);
  };

  const alone = await scene('No REDIS_HOST is set.', startsWithoutRedis);
  await scene('A job for each queue, over the HTTP API.', everyQueue, alone);
  await scene('The same picture is posted twice.', moderatedOnce, alone);

  const fleet = await scene('REDIS_HOST and the others are set.', startsWithRedis);
  await scene('An administrator looks at the queues.', countsAreTheSame, fleet);
  await scene('Uploads, of which two in five were there before.', aDayOfUploads, fleet);
  await scene('A clip goes round: fifty post it at once.', goesRound, fleet);
  await scene('The AI service is down, and a moderator asks again.', askedAnew, fleet);
  await scene('Redis is killed and comes back.', threeStates, fleet);
  await scene('A host is killed with -9 in the middle of two jobs.', killedInTheMiddle, fleet);
  await scene('A Redis that speaks only TLS.', overTls);
}
