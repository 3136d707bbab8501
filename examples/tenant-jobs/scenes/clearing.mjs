// Emptying the queue while the host has jobs in its hands.

import { clearQueue, getQueueLength } from '../redis.mjs';
import { numbered } from './files.mjs';

const JOBS = 50;
const RUNNING = 10;

async function withJobsInHand(stage, team, empty) {
  const { files, client } = team;
  files.hold();
  const rows = await team.create('globex', numbered(JOBS));
  await stage.until('the host has its hands full', () => files.waiting === RUNNING);
  stage.equal(`LLEN job_queue: ${JOBS - RUNNING} wait, ${RUNNING} run`, await getQueueLength(client), JOBS - RUNNING);
  await empty();
  stage.equal('the list is empty', await getQueueLength(client), 0);
  files.release();
  const isRunning = ({ file }) => files.reads(file) > 0;
  const [running, waiting] = [rows.filter(isRunning), rows.filter((row) => !isRunning(row))];
  const done = await team.ended(running);
  stage.equal('what ran is finished', done.map(({ status }) => status), Array(RUNNING).fill('COMPLETED'));
  const more = await team.ended(await team.create('globex', numbered(5)));
  stage.equal('the next jobs are worked as ever', more.map(({ status }) => status), Array(5).fill('COMPLETED'));
  const left = await team.rows(waiting);
  stage.equal('what waited was not started', left.map(({ status }) => status), Array(JOBS - RUNNING).fill('QUEUED'));
}

export function clearing(stage, team) {
  return withJobsInHand(stage, team, () => clearQueue(team.client));
}

export function draining(stage, team) {
  return withJobsInHand(stage, team, async () => {
    const why = await stage.until('jobcell queue explain job_queue knows why they wait', async () => {
      const { stdout } = await team.jobcell('queue', 'explain', 'job_queue');
      return stdout.split('\n').find((line) => line.includes('all 10 slots'));
    });
    stage.note(why.trim());
    const drained = await team.jobcell('queue', 'drain', 'job_queue', '--yes', '--json');
    stage.equal('jobcell queue drain job_queue says how many went', drained.json?.removed, JOBS - RUNNING);
  });
}
