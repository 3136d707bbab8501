// What goes wrong, and what is told of it.

import { numbered } from './files.mjs';

export async function failing(stage, team) {
  const { files, client } = team;
  const listener = await team.listen('acme');
  files.fail('flaky-2.csv', 2);
  files.fail('away-3.csv', 1_000);
  const rows = await team.create('acme', ['broken-1.csv', 'flaky-2.csv', 'away-3.csv', 'huge-4.csv']);
  const [broken, flaky, away, huge] = await team.ended(rows);
  await stage.until('all is told', () => rows.every(({ id }) => ['COMPLETED', 'FAILED'].includes(listener.of(id).at(-1))));

  stage.equal('a file that is no list of orders is tried once', listener.of(broken.id), ['RUNNING', 'FAILED']);
  stage.note(broken.error);
  stage.check('its FAILED names the line', broken.error.startsWith('line 3: '), broken.error);
  stage.equal('nor is one tried again that is larger than a job may hold', listener.of(huge.id), ['RUNNING', 'FAILED']);
  stage.note(huge.error);
  const retries = ['RUNNING', 'RETRYING', 'RUNNING', 'RETRYING', 'RUNNING'];
  stage.equal('a storage that answers 503 twice costs two retries', listener.of(flaky.id), [...retries, 'COMPLETED']);
  stage.equal('one that stays away, all three attempts', listener.of(away.id), [...retries, 'FAILED']);
  stage.note(away.error);
  const dead = await client.lrange('job_queue:dead', 0, -1);
  const failed = [broken, away, huge].map(({ id }) => id);
  stage.equal('the ids of those that failed are in job_queue:dead', dead.sort(), failed.sort());

  files.fail('away-3.csv', 0);
  const retried = await team.jobcell('job', 'retry', 'job_queue', away.id);
  stage.equal('the storage is back: jobcell job retry job_queue ID', retried.code, 0);
  await stage.until('it is done', async () => (await team.row(away)).status === 'COMPLETED');
  stage.equal('it is done, and not dead any more', (await client.lrange('job_queue:dead', 0, -1)).includes(away.id), false);
}

export async function apiAway(stage, team) {
  const { files, client } = team;
  files.hold();
  const rows = await team.create('globex', numbered(10));
  await stage.until('all of them run', () => files.waiting === rows.length);
  await team.api.stop();
  files.release();
  const statuses = () => Promise.all(rows.map(({ id }) => client.hget(`job:${id}`, 'status')));
  await stage.until('the jobs end', async () => (await statuses()).every((status) => status === 'COMPLETED'));
  await team.startApi();
  const after = await team.rows(rows);
  const ends = after.map(({ status }) => status);
  stage.equal('nobody heard of the ends, and the table has them all', ends, rows.map(() => 'COMPLETED'));
  stage.check('with their results, out of the records', after.every(({ result }) => result.orders > 0), after);
}
