// The worker that the team has: pop, work, publish. It is run in the story to show what it loses, and deleted afterwards.
//
//   REDIS_URL=… API_URL=… FILES_URL=… INTERNAL_API_TOKEN=… node worker-before.mjs
//
// Theirs reads and writes the table `jobs` in Postgres; here it asks the API, which has the table.

import { report } from './report.mjs';
import { getRedisClient, popJob, popJobs, publishJobUpdate } from './redis.mjs';

const BATCH = 10;
const WAIT_SECONDS = 1;

const { API_URL, FILES_URL, INTERNAL_API_TOKEN } = process.env;
const redis = getRedisClient();
let isStopping = false;
process.once('SIGTERM', () => {
  isStopping = true;
});

async function asked(url, options) {
  const answer = await fetch(url, options);
  if (!answer.ok) throw new Error(`${url} was answered with ${answer.status}`);
  return answer.text();
}

const authorization = `Bearer ${INTERNAL_API_TOKEN}`;
const row = (jobId, options) => asked(`${API_URL}/internal/jobs/${jobId}`, { headers: { authorization }, ...options });
const select = async (jobId) => JSON.parse(await row(jobId));
const update = (jobId, columns) => row(jobId, { method: 'PATCH', body: JSON.stringify(columns) });

async function run(jobId) {
  const { tenantId, file } = await select(jobId);
  await publishJobUpdate(redis, { tenantId, jobId, status: 'RUNNING' });
  try {
    const result = report(await asked(`${FILES_URL}/${tenantId}/${file}`));
    await update(jobId, { status: 'COMPLETED', result });
    await publishJobUpdate(redis, { tenantId, jobId, status: 'COMPLETED' });
  } catch ({ message }) {
    await update(jobId, { status: 'FAILED', error: message });
    await publishJobUpdate(redis, { tenantId, jobId, status: 'FAILED', error: message });
  }
}

async function next() {
  const jobIds = await popJobs(redis, BATCH);
  if (jobIds.length > 0) return jobIds;
  const jobId = await popJob(redis, WAIT_SECONDS);
  return jobId === null ? [] : [jobId];
}

console.log('the worker is ready');
while (!isStopping) {
  const ended = await Promise.allSettled((await next()).map(run));
  for (const { reason } of ended.filter(({ status }) => status === 'rejected')) console.error(reason);
}
redis.disconnect();
