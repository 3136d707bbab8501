// Tenant jobs: a list of job ids, updates on a channel, a WebSocket for each tenant. First the team's own worker, then
// Jobcell on the same list, with the same API, the same package and the same kill.

import { Team } from './team.mjs';
import { losing } from './scenes/before.mjs';
import { surviving } from './scenes/after.mjs';
import { inTurn } from './scenes/batch.mjs';
import { tenants, pushedByHand, withoutApi } from './scenes/tenants.mjs';
import { failing, apiAway } from './scenes/failures.mjs';
import { clearing, draining } from './scenes/clearing.mjs';
import { besideEachOther, backAndForth } from './scenes/moving.mjs';
import { oneConnection } from './scenes/connection.mjs';

export default async function story(stage) {
  stage.title('Tenant jobs: LPUSH job_queue, PUBLISH job_updates');
  const team = await Team.gather(stage);
  const scene = async (text, tell, ...more) => {
    stage.scene(text);
    return tell(stage, team, ...more);
  };

  const lost = await scene('Their worker is killed with a batch in its hands.', losing);
  const host = await scene('Jobcell works the same list, and is killed in the same way.', surviving);
  await scene('Thousands of ids at once, for their worker and for Jobcell in turn.', inTurn, host);

  await scene('Each tenant hears of its own jobs, from their broadcaster and from Jobcell.', tenants, host);
  await scene('What their worker lost is pushed again, by hand.', pushedByHand, host, lost);
  await scene('A row that is in the record needs no API.', withoutApi);

  await scene('Files that are wrong, and a storage that is away.', failing, host);
  await scene('The API is deployed while jobs run.', apiAway);

  await scene('Somebody clears the queue while the host works.', clearing);
  await scene('The same, with a command that knows what it does.', draining);

  await scene('Their worker and Jobcell beside each other.', besideEachOther);
  await scene('Back to their worker, and forward again.', backAndForth, host);

  await scene('One connection for both: the mistake of their handbook.', oneConnection);
  stage.note(`Redis is at ${team.redis.url}, the API at ${team.apiUrl}`);
}
