// Those whom the studio calls: the AI service, and a node of the chain.

import { createHash } from 'node:crypto';

/** An AI service that takes its time, wants its key, and says of every content the same; `isDown` and `hold` disturb it. */
export async function aiService(stage, key, { tookMs = 60 } = {}) {
  const service = await stage.service(async ({ headers, body }) => {
    if (headers.authorization !== `Bearer ${key}`) return { status: 401, body: { error: 'no key' } };
    if (service.isDown) return { status: 503, body: { error: 'no time' } };
    await (service.hold ?? new Promise((done) => setTimeout(done, tookMs)));
    const { sha256 } = JSON.parse(body);
    // One in eight is blocked, by its own bytes.
    const score = (parseInt(sha256.slice(0, 2), 16) % 8) === 0 ? 0.97 : 0.02;
    return { body: { model: 'story-1', labels: [{ name: 'violence', score }, { name: 'spam', score: 0.1 }] } };
  });
  service.asked = () => service.requests.map(({ body }) => JSON.parse(body).sha256);
  return service;
}

const hashOf = (height, previous, data) => createHash('sha256').update(`${height}\n${previous}\n${data}`).digest('hex');

/** A node with chains of so many blocks; `hold(after)` keeps the answer to that page back. */
export async function chainNode(stage, lengths) {
  const chains = Object.fromEntries(Object.entries(lengths).map(([name, length]) => [name, blocks(length)]));
  const node = await stage.service(async ({ path }) => {
    const { pathname, searchParams } = new URL(path, 'http://node');
    const chain = chains[pathname.split('/')[1]];
    const [after, limit] = ['after', 'limit'].map((name) => Number(searchParams.get(name)));
    if (!chain) return { status: 404, body: { error: 'no such chain' } };
    if (node.held?.after === after) {
      node.held.come();
      await node.held.gone;
    }
    return { body: { tip: chain.length, blocks: chain.slice(after, after + limit) } };
  });
  node.chains = chains;
  node.pages = (name) => node.requests.filter(({ path }) => path.startsWith(`/${name}/`)).map(({ path }) => Number(path.match(/after=(\d+)/)[1]));
  node.hold = (after) => {
    let come, release;
    const there = new Promise((met) => (come = met));
    const gone = new Promise((free) => (release = free));
    node.held = { after, come, gone };
    return { there, release: () => { node.held = undefined; release(); } };
  };
  return node;
}

function blocks(length) {
  const chain = [];
  for (let height = 1; height <= length; height += 1) {
    const previous = chain.at(-1)?.hash ?? '';
    const data = `tip ${height * 5} to creator ${height % 7}`;
    chain.push({ height, previous, data, hash: hashOf(height, previous, data) });
  }
  return chain;
}
