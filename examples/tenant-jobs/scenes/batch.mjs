// Thousands of ids in one push, for their worker and for Jobcell in turn: what a machine does beside it hits both.

import { numbered } from './files.mjs';

const ROUNDS = 3;
const JOBS = 1_500;

export async function inTurn(stage, team, host) {
  const ratios = [];
  for (let round = 1; round <= ROUNDS; round += 1) {
    await quiet(stage, host, 'SIGTSTP', 503);
    const worker = team.worker();
    await worker.line(/is ready/);
    const before = await timed(stage, team, 'before', round * JOBS);
    await worker.stop();
    await quiet(stage, host, 'SIGCONT', 200);
    const after = await timed(stage, team, 'after', round * JOBS);
    stage.note(`${JOBS} jobs: their worker ${Math.round(before)} ms, Jobcell ${Math.round(after)} ms`);
    ratios.push(before / after);
  }
  const done = await Promise.all(['before', 'after'].map((tenant) => team.counts(tenant)));
  stage.equal('all are done, theirs and ours', done, Array(2).fill({ COMPLETED: ROUNDS * JOBS }));
  const median = ratios.sort((a, b) => a - b)[(ROUNDS - 1) / 2];
  stage.figure('times as fast as their worker, ten at once, median of three', median);
}

/** TSTP and CONT: a host that is quiet takes no jobs, and says so. */
async function quiet(stage, host, signal, status) {
  host.signal(signal);
  await stage.until(`${host.name} answers ${status}`, async () => (await fetch(`${host.url}/readyz`)).status === status);
}

/** Creates the jobs in one request and waits for their rows: how long it took, ms. */
async function timed(stage, team, tenant, total) {
  const start = performance.now();
  await team.create(tenant, numbered(JOBS));
  const isDone = async () => (await team.counts(tenant)).COMPLETED === total;
  await stage.until('the batch is done', isDone, { within: 90_000 });
  return performance.now() - start;
}
