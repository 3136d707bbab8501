// Jobcell on the list that their worker popped from.

import { report } from '../report.mjs';
import { ordersIn } from '../files.mjs';
import { createPubSub } from '../redis.mjs';
import { numbered } from './files.mjs';

const JOBS = 30;
const BATCH = 10;

export async function surviving(stage, team) {
  const { files, client } = team;
  const updates = new Map();
  const pubsub = stage.closing(createPubSub(team.redis.url));
  await pubsub.subscribe(({ jobId, status }) => updates.set(jobId, [...(updates.get(jobId) ?? []), status])).ready;

  files.hold();
  const rows = await team.create('acme', numbered(JOBS));
  const first = await team.host();
  await stage.until('the host reads a batch of files', () => files.waiting === BATCH);
  await first.kill();
  files.release();
  const killed = performance.now();

  const second = await team.host();
  const after = await team.ended(rows);
  const lost = after.filter(({ status }) => status !== 'COMPLETED');
  stage.equal(`of ${JOBS} jobs, none is lost: the killed host had ${BATCH} of them`, lost, []);
  stage.figure('jobs lost by Jobcell when it is killed', lost.length);
  stage.figure('seconds from the kill to the end of the last job (a lock holds 10 s)', (performance.now() - killed) / 1000);
  const again = ['RUNNING', 'RETRYING', 'RUNNING', 'COMPLETED'];
  const interrupted = rows.filter(({ id }) => updates.get(id)?.join() === again.join());
  stage.check(`listeners were told of the ${BATCH}: ${again.join(', ')}`, interrupted.length >= BATCH, [...updates.values()]);
  const expected = after.map(({ file }) => report(ordersIn(file)));
  stage.equal('the handler comes to what their JavaScript came to', after.map(({ result }) => result), expected);
  const left = await client.exists('job_queue', 'job_queue:dead', 'job_queue:delayed');
  stage.equal('nothing is left on the list', left, 0);
  return second;
}
