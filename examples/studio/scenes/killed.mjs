// kill -9, in the middle of a sync and of a question to the AI service.

export async function killedInTheMiddle(stage, studio, { env, hosts, app }) {
  // One host is left, so that it is known who has the jobs.
  const [victim, other] = hosts;
  await other.stop();
  const page = studio.node.hold(200);
  let answer;
  studio.ai.hold = new Promise((go) => (answer = go));
  const asked = studio.asked().length;
  await app.add('chain-sync', 'sync', { chain: 'long' }, { jobId: 'long-sync' });
  const content = { sha256: 'cd'.repeat(32), url: 'https://cdn.example.com/cd' };
  await app.add('moderation', 'moderate', { content }, { jobId: 'asking' });
  await page.there;
  await stage.until('the AI service is asked', () => studio.asked(asked).length === 1);
  const killed = Date.now();
  await victim.kill();
  page.release();
  answer();
  studio.ai.hold = undefined;

  const heir = await studio.host(env);
  await app.add('moderation', 'moderate', { content }, { jobId: 'same-content' });
  const ended = async (queue, id) => stage.until(`${queue}/${id} ends`, async () => {
    const { state, attempts } = await heir.get(`/api/v1/queues/${queue}/jobs/${id}`);
    return state === 'completed' && attempts.at(-1);
  });
  await ended('moderation', 'same-content');
  stage.figure('seconds until another host computed what the dead one had begun', (Date.now() - killed) / 1000);
  await ended('moderation', 'asking');
  stage.equal('the dead host had asked once, the next one once for both jobs', studio.asked(asked).length, 2);
  await ended('chain-sync', 'long-sync');
  const pages = studio.node.pages('long');
  stage.equal('the sync went on with the page at which its host died', pages, [0, 50, 100, 150, 200, 200, 250, 300, 350]);
  const { returnvalue } = await heir.get('/api/v1/queues/chain-sync/jobs/long-sync');
  stage.equal('and has every block once', [returnvalue.place.height, returnvalue.blocks], [400, 200]);
  stage.figure('pages asked for again after the kill', pages.length - new Set(pages).size);
}
