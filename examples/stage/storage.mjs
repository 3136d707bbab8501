// An S3-compatible storage of the story's own: s3s-fs, which checks SigV4 signatures as S3 does and keeps buckets as
// folders. JOBCELL_STORAGE is its program.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Program } from './programs.mjs';
import { freePort } from './ports.mjs';
import { until } from './wait.mjs';

const KEYS = { accessKeyId: 'story-access-key', secretAccessKey: 'story-secret-key' };

export class Storage {
  #server;

  static async start(folder, { bucket }) {
    const storage = new Storage();
    Object.assign(storage, {
      folder: join(folder, 'storage'),
      port: await freePort(),
      bucket,
      region: 'us-east-1',
      ...KEYS,
    });
    await mkdir(join(storage.folder, bucket), { recursive: true });
    await storage.up();
    return storage;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** What a host and every other S3 client take from their environment; `endpoint` where something stands in between. */
  env(endpoint = this.url) {
    return {
      AWS_ENDPOINT: endpoint,
      AWS_REGION: this.region,
      AWS_ACCESS_KEY_ID: this.accessKeyId,
      AWS_SECRET_ACCESS_KEY: this.secretAccessKey,
      AWS_ALLOW_HTTP: 'true',
    };
  }

  /** Starts it again where it was stopped, with what it kept. */
  async up() {
    const program = process.env.JOBCELL_STORAGE;
    if (!program) throw new Error('JOBCELL_STORAGE is not set; `cargo xtask example NAME` sets it');
    const keys = ['--access-key', this.accessKeyId, '--secret-key', this.secretAccessKey];
    this.#server = new Program(
      'storage',
      program,
      ['--host', '127.0.0.1', '--port', `${this.port}`, ...keys, this.folder],
      {
        env: { RUST_LOG: 's3s_fs=info' },
        log: `${this.folder}.log`,
      },
    );
    // Whatever it says to a request without a signature: it answers.
    await until('the storage answers', async () => {
      if (this.#server.end) throw new Error(`the storage ended:\n${this.#server.lines.join('\n')}`);
      return fetch(this.url).catch(() => null);
    });
  }

  /** Kills it as a power cut would. */
  async down() {
    this.#server.kill();
    await this.#server.ended;
  }

  close() {
    return this.#server.stop();
  }
}
