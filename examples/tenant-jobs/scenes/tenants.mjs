// Who hears of what.

import { report } from '../report.mjs';
import { ordersIn } from '../files.mjs';
import { createPubSub, pushJob, pushJobs } from '../redis.mjs';
import { numbered } from './files.mjs';

export async function tenants(stage, team, host) {
  const [acme, globex] = [await team.listen('acme'), await team.listen('globex')];
  const [socket, stream] = [await team.listenToHost(host, 'acme'), await team.streamOfHost(host, 'globex')];
  const ours = await team.ended(await team.create('acme', numbered(3)));
  const theirs = await team.ended(await team.create('globex', numbered(2)));
  const ids = (rows) => rows.map(({ id }) => id).sort();
  const isHeard = () =>
    [[acme, ours, 'COMPLETED'], [globex, theirs, 'COMPLETED'], [socket, ours, 'completed'], [stream, theirs, 'completed']].every(
      ([listener, rows, last]) => rows.every(({ id }) => listener.of(id).at(-1) === last),
    );
  await stage.until('everybody has heard of the ends', isHeard);

  stage.equal('their broadcaster tells acme’s client of acme’s jobs alone', acme.jobs.sort(), ids(ours));
  stage.equal('and globex’s client of globex’s', globex.jobs.sort(), ids(theirs));
  stage.equal('of each, RUNNING and COMPLETED', acme.of(ours[0].id), ['RUNNING', 'COMPLETED']);

  stage.equal('Jobcell’s WebSocket, with acme’s token, tells of acme’s jobs alone', socket.jobs.sort(), ids(ours));
  stage.equal('Jobcell’s server-sent events, with globex’s token, of globex’s', stream.jobs.sort(), ids(theirs));
  stream.close();
  const missed = await team.ended(await team.create('globex', numbered(2)));
  const again = await team.streamOfHost(host, 'globex', stream.lastId);
  await stage.until('it is told', () => missed.every(({ id }) => again.of(id).includes('completed')));
  stage.equal('who was away meanwhile is told what was missed', again.jobs.sort(), ids(missed));
  const refused = await team.listenToHost(host, 'acme', '?tenant=globex').catch(({ message }) => message);
  stage.equal('asked for another tenant, it refuses', refused, 'refused with 403');
  const foreign = await team.askHost(host, 'acme', `/api/v1/queues/job_queue/jobs/${theirs[0].id}`);
  stage.equal('another tenant’s job is not there', foreign.status, 404);
  const own = await team.askHost(host, 'acme', `/api/v1/queues/job_queue/jobs/${ours[0].id}`);
  stage.equal('one’s own job is, with its result', [own.status, own.body.state], [200, 'completed']);
}

export async function pushedByHand(stage, team, host, lost) {
  const { client } = team;
  const told = [];
  const pubsub = stage.closing(createPubSub(team.redis.url));
  await pubsub.subscribe((update) => told.push(update)).ready;
  const [acme, socket] = [await team.listen('acme'), await team.listenToHost(host, 'acme')];

  const [unlabelled, ...labelled] = lost;
  await client.del(`job:${unlabelled.id}`);
  await pushJobs(client, lost.map(({ id }) => id));
  const after = await team.ended(lost);
  stage.equal('the ten are done', after.map(({ status }) => status), lost.map(() => 'COMPLETED'));
  await stage.until('everybody has heard of the others', () =>
    labelled.every(({ id }) => acme.of(id).includes('COMPLETED') && socket.of(id).includes('completed')));
  // Whatever is told of it has been told once the end of a later job has.
  const [later] = await team.ended(await team.create('acme', numbered(1)));
  const isHeard = () => acme.of(later.id).includes('COMPLETED') && socket.of(later.id).includes('completed');
  await stage.until('a later end is heard', isHeard);

  const updatesOf = ({ id }) => told.filter(({ jobId }) => jobId === id);
  const tenantsOf = (row) => [...new Set(updatesOf(row).map(({ tenantId }) => tenantId))];
  stage.equal('updates have the tenant that `label` wrote into the record', tenantsOf(labelled[0]), ['acme']);
  stage.equal('without a record the job is worked all the same, and its updates have none', tenantsOf(unlabelled), [null]);
  stage.equal('so no tenant’s client hears of it', [acme.of(unlabelled.id), socket.of(unlabelled.id)], [[], []]);
}

export async function withoutApi(stage, team) {
  const { client } = team;
  const [file] = numbered(1);
  const data = JSON.stringify({ tenantId: 'acme', file });
  await client.hset('job:import-7', { tenantId: 'acme', data });
  await pushJob(client, 'import-7');
  await stage.until('it is done', async () => (await client.hget('job:import-7', 'status')) === 'COMPLETED');
  const result = JSON.parse(await client.hget('job:import-7', 'result'));
  stage.note('HSET job:import-7 tenantId acme data \'{"tenantId":"acme","file":"…"}\'; LPUSH job_queue import-7');
  stage.equal('it is done, although the API knows no job import-7', result, report(ordersIn(file)));
}
