// The studio on the stage: its services, its uploads, and what it starts with which variables.

import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { aiService, chainNode } from './services.mjs';

const AI_KEY = 'story-ai-key';
// None of these may come from the reader's own shell.
const NO_REDIS = { REDIS_URL: '', REDIS_HOST: '', REDIS_PORT: '', REDIS_USERNAME: '', REDIS_PASSWORD: '', REDIS_TLS: '', REDIS_DB: '' };

export class Studio {
  key = AI_KEY;

  static async open(stage) {
    const studio = new Studio();
    studio.stage = stage;
    studio.uploads = join(stage.folder, 'uploads');
    await mkdir(join(studio.uploads, 'clips'), { recursive: true });
    studio.ai = await aiService(stage, AI_KEY);
    studio.node = await chainNode(stage, { main: 230, forged: 120, long: 400 });
    // Somebody changed what a block says, and nothing else.
    studio.node.chains.forged[69].data = 'tip 1000000 to creator 3';
    return studio;
  }

  /** What a host needs; addresses in place of those of jobcell.toml. */
  hostEnv(redis) {
    const rule = (url, method, secrets) => `[{ url = "${url}", methods = ["${method}"], secrets = [${secrets}], private = true }]`;
    return {
      ...NO_REDIS,
      ...redis,
      AI_KEY,
      JOBCELL_BLOBS__UPLOADS__URL: `file://${this.uploads}`,
      JOBCELL_HANDLERS__STUDIO__GRANTS__CONFIG__NODE: this.node.url,
      JOBCELL_HANDLERS__STUDIO__GRANTS__HTTP: rule(this.node.url, 'GET', ''),
      JOBCELL_HANDLERS__MODERATION__GRANTS__CONFIG__AI: this.ai.url,
      JOBCELL_HANDLERS__MODERATION__GRANTS__HTTP: rule(this.ai.url, 'POST', '"ai-key"'),
    };
  }

  host(redis, options = {}) {
    return this.stage.host({ env: this.hostEnv(redis), ...options });
  }

  /** Their Node app beside this host. */
  async app(host, redis = {}) {
    const port = await this.stage.freePort();
    const env = { ...NO_REDIS, ...redis, PORT: `${port}`, JOBCELL_URL: host.url };
    const app = this.stage.script('app.mjs', { env });
    await app.line(/^listening/);
    const url = `http://127.0.0.1:${port}`;
    const call = async (method, path, body) => {
      const answer = await fetch(url + path, { method, body: body && JSON.stringify(body) });
      const read = await answer.json();
      if (!answer.ok) throw new Error(`${path}: ${read.error}`);
      return read;
    };
    return {
      stop: () => app.stop(),
      get: (path) => call('GET', path),
      post: (postId, picture) => call('POST', '/api/posts', { postId, picture }),
      run: (queue, name, data, opts) => call('POST', '/api/jobs', { queue, name, data, opts }),
      add: (queue, name, data, opts) => call('POST', '/api/jobs', { queue, name, data, opts, wait: false }),
    };
  }

  async upload(name, bytes) {
    await writeFile(join(this.uploads, 'clips', name), bytes);
  }

  async files(folder) {
    return (await readdir(join(this.uploads, folder)).catch(() => [])).sort();
  }

  file(name) {
    return readFile(join(this.uploads, name));
  }

  /** How often the AI service was asked since. */
  asked(since = 0) {
    return this.ai.asked().slice(since);
  }
}

/** The receipt of a job's only attempt. */
export async function receipt(host, queue, id) {
  const { items } = await host.get(`/api/v1/queues/${queue}/jobs/${id}/receipt`);
  return items.at(-1);
}
