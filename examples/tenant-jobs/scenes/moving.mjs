// Moving over while jobs come in, and back.

import { getQueueLength } from '../redis.mjs';
import { numbered } from './files.mjs';

const EACH = 10;

const isDoneOnce = (files) => ({ status, file }) => status === 'COMPLETED' && files.reads(file) === 1;

export async function besideEachOther(stage, team) {
  const { files, client } = team;
  files.hold();
  const rows = await team.create('acme', numbered(2 * EACH));
  await stage.until('the host has its hands full', () => files.waiting === EACH);
  const worker = team.worker();
  await stage.until('their worker has the others', () => files.waiting === 2 * EACH);
  const hasRecord = async ({ id }) => (await client.hget(`job:${id}`, 'status')) === 'RUNNING';
  const isJobcells = await Promise.all(rows.map(hasRecord));
  const jobcells = rows.filter((_, index) => isJobcells[index]);
  const theirs = rows.filter((_, index) => !isJobcells[index]);
  stage.equal('an id goes to one of them', [jobcells.length, theirs.length, await getQueueLength(client)], [EACH, EACH, 0]);
  worker.kill();
  await worker.ended;
  files.release();
  await team.ended(jobcells);
  const lost = (await team.rows(theirs)).filter(({ status }) => status !== 'COMPLETED');
  stage.equal('as long as their worker is up, its kill loses what it popped', lost.length, EACH);

  const next = team.worker();
  const both = await team.ended(await team.create('acme', numbered(200)));
  stage.check('200 jobs for both of them: all done, each worked once', both.every(isDoneOnce(files)));
  const ours = await Promise.all(both.map(({ id }) => client.hexists(`job:${id}`, 'status')));
  stage.note(`Jobcell did ${ours.filter(Boolean).length} of them, their worker the others`);
  await next.stop();
}

export async function backAndForth(stage, team, host) {
  const { files, client } = team;
  files.hold();
  const rows = await team.create('acme', numbered(3 * EACH));
  await stage.until('the host has its hands full', () => files.waiting === EACH);
  const stopping = host.stop();
  await host.line(/stopping: no new jobs/);
  files.release();
  stage.equal('a host that is told to stop finishes what runs', await stopping, 0);
  stage.equal('and leaves the others where they were', await getQueueLength(client), 2 * EACH);
  const worker = team.worker();
  const after = await team.ended(rows);
  stage.check('their worker goes on with them', after.every(isDoneOnce(files)));
  await worker.stop();
  const next = await team.host();
  const [row] = await team.ended(await team.create('acme', numbered(1)));
  stage.equal('and a new host after it', row.status, 'COMPLETED');
  return next;
}
