// With Redis: the variables of the team's guide, a user with only the rights it needs, and outages.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { certificates } from '../../stage/certificates.mjs';
import { RedisQueues, connection } from '../queues.mjs';

const USER = { REDIS_USERNAME: 'studio', REDIS_PASSWORD: 'story-studio-password' };
const RIGHTS = ['on', `>${USER.REDIS_PASSWORD}`, '~bull:*', '~jobcell*', '~moderation:*', '&*', '+@all', '-@admin', '-@dangerous',
  '+info', '+role', '+client|setname', '+client|list', '+keys'];

export async function startsWithRedis(stage, studio) {
  const redis = await stage.redis({ password: 'story-admin-password', args: ['--user', USER.REDIS_USERNAME, ...RIGHTS] });
  const env = { REDIS_HOST: '127.0.0.1', REDIS_PORT: `${redis.port}`, ...USER, REDIS_TLS: 'false' };
  const checked = await stage.jobcell(['check'], studio.hostEnv(env));
  stage.check('`jobcell check` takes REDIS_HOST, REDIS_PORT, REDIS_USERNAME and REDIS_PASSWORD as they are', checked.code === 0, checked.stdout);
  stage.note(checked.stdout.split('\n').filter((line) => /store/.test(line)).join('\n'));
  const wrong = await stage.jobcell(['check'], studio.hostEnv({ ...env, REDIS_PASSWORD: 'another' }));
  stage.check('with a wrong password it names the user and the variables', wrong.code !== 0 && [/WRONGPASS/, /REDIS_PASSWORD/, new RegExp(USER.REDIS_USERNAME)].every((part) => part.test(wrong.stdout + wrong.stderr)), wrong.stdout);

  const hosts = [await studio.host(env), await studio.host(env)];
  const warnings = hosts.flatMap((host) => host.lines.filter((line) => / WARN /.test(line) && /no Redis/.test(line)));
  stage.equal('two hosts work the queues, and nobody misses Redis', warnings, []);
  const app = await studio.app(hosts[0], env);
  const { result } = await app.run('analytics', 'count', { events: [{ name: 'view', at: 0 }] });
  stage.equal('their BullMQ producer gets its result', result.events, 1);
  return { redis, env, hosts, app };
}

export async function countsAreTheSame(stage, studio, { env, app }) {
  const queues = stage.closing(new RedisQueues(connection(env)));
  for (let n = 0; n < 12; n += 1) await app.run('privacy-audit', 'audit', { documents: [{ id: `d${n}`, text: 'nothing' }] });
  await app.run('chain-sync', 'sync', { chain: 'nowhere' }, { attempts: 1 }).catch(() => {});
  const stats = await app.get('/api/admin/queue/stats');
  const theirs = await queues.counts();
  const states = ['waiting', 'active', 'completed', 'failed', 'delayed'];
  const ours = Object.fromEntries(Object.entries(stats).map(([name, counts]) => [name, Object.fromEntries(states.map((state) => [state, counts[state]]))]));
  stage.equal('/api/admin/queue/stats and BullMQ’s getJobCounts say the same of all six queues', ours, theirs);
  stage.note(Object.entries(ours).map(([name, { completed, failed }]) => `${name}: ${completed} completed, ${failed} failed`).join('\n'));
}

export async function threeStates(stage, studio, { redis, app }) {
  const health = async () => (await app.get('/api/health')).redis;
  const state = (wanted) => stage.until(`Redis is ${wanted}`, async () => {
    const redis = await health();
    return redis.status === wanted && redis;
  });
  const up = await state('connected');
  stage.check(`connected: ${JSON.stringify(up.message)}`, typeof up.latency === 'number', up);
  await redis.down();
  const down = await state('disconnected');
  stage.check(`killed: disconnected, ${JSON.stringify(down.message)}`, down.latency === null, down);
  stage.check('without a password in it', !JSON.stringify(down).includes('password'), down);
  await redis.up();
  const back = await state('connected');
  stage.check('back: connected, with a latency', typeof back.latency === 'number', back);
  const { result } = await app.run('analytics', 'count', { events: [{ name: 'view', at: 1 }] });
  stage.equal('and a job goes through, with no restart of anything', result.events, 1);
}

export async function overTls(stage, studio) {
  const tls = certificates();
  const redis = await stage.redis({ name: 'redis-tls', password: USER.REDIS_PASSWORD, tls });
  const ca = join(stage.folder, 'redis-ca.pem');
  await writeFile(ca, tls.ca);
  const env = { REDIS_HOST: '127.0.0.1', REDIS_PORT: `${redis.port}`, REDIS_PASSWORD: USER.REDIS_PASSWORD, REDIS_TLS: 'true', JOBCELL_REDIS__CA: ca };
  const plain = await stage.jobcell(['check'], studio.hostEnv({ ...env, REDIS_TLS: 'false', JOBCELL_REDIS__CA: '' }));
  stage.check('REDIS_TLS=false against it: the check fails and says that TLS is wanted', plain.code !== 0 && /TLS|rediss/.test(plain.stdout + plain.stderr), plain.stdout + plain.stderr);
  const host = await studio.host(env);
  const app = await studio.app(host, { ...env, REDIS_CA: tls.ca });
  const { result } = await app.run('memory-mining', 'mine', { userId: 'u1', today: '2026-11-21', posts: [] });
  stage.equal('REDIS_TLS=true: BullMQ and the host meet over TLS', result.found, 0);
  await app.stop();
  await host.stop();
}
