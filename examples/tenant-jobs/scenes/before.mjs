// What the team has: the ids that a worker has popped are known to nobody else.

import { numbered } from './files.mjs';

const JOBS = 30;
const BATCH = 10;

export async function losing(stage, team) {
  const { files, client } = team;
  files.hold();
  const rows = await team.create('acme', numbered(JOBS));
  const first = team.worker();
  await stage.until('the worker reads a batch of files', () => files.waiting === BATCH);
  first.kill();
  await first.ended;
  files.release();

  const second = team.worker();
  await stage.until('the rest is done', async () => (await team.counts('acme')).COMPLETED === JOBS - BATCH);
  const after = await team.rows(rows);
  const lost = after.filter(({ status }) => status !== 'COMPLETED');
  stage.equal(`${BATCH} of ${JOBS} jobs are lost: the killed worker had popped them`, lost.length, BATCH);
  stage.equal('their rows say RUNNING for ever', [...new Set(lost.map(({ status }) => status))], ['RUNNING']);
  stage.equal('nothing in Redis knows of them', await client.keys('job_queue*'), []);
  stage.figure('jobs lost by their worker when it is killed', lost.length);

  files.fail('late-1.csv', 1);
  const [row] = await team.ended(await team.create('acme', ['late-1.csv']));
  stage.equal('one 503 of the storage, and a job has failed for good', row.status, 'FAILED');
  await second.stop();
  return lost;
}
