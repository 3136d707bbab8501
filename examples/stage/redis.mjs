// A Redis of the story's own, which keeps what it acknowledged when it is killed.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import Client from 'ioredis';
import { Program } from './programs.mjs';
import { freePort } from './ports.mjs';
import { until } from './wait.mjs';

export class Redis {
  #server;
  #clients = new Set();

  /** `tls` is what certificates.mjs makes: the server speaks nothing else then. `name` is its folder, for a second one. */
  static async start(folder, { password, args = [], tls, name = 'redis' } = {}) {
    const redis = new Redis();
    Object.assign(redis, { folder: join(folder, name), port: await freePort(), password, args, tls });
    await mkdir(redis.folder, { recursive: true });
    for (const [file, text] of Object.entries(tls ?? {})) await writeFile(join(redis.folder, `${file}.pem`), text, { mode: 0o600 });
    await redis.up();
    return redis;
  }

  get url() {
    return `${this.tls ? 'rediss' : 'redis'}://${this.password ? `:${this.password}@` : ''}127.0.0.1:${this.port}`;
  }

  /** For BullMQ and ioredis. */
  get connection() {
    const tls = this.tls && { ca: this.tls.ca };
    return { host: '127.0.0.1', port: this.port, password: this.password, tls, maxRetriesPerRequest: null };
  }

  /** A client that is closed when the story ends. */
  client(options = {}) {
    const client = new Client({ ...this.connection, ...options });
    // Outages are part of some stories; a client tells of them by what it answers.
    client.on('error', () => {});
    this.#clients.add(client);
    return client;
  }

  /** Starts the server again where it was stopped. */
  async up() {
    const args = ['--bind', '127.0.0.1', '--dir', this.folder, '--appendonly', 'yes', '--save', ''];
    args.push(...(this.tls ? this.#tlsArgs() : ['--port', `${this.port}`]));
    if (this.password) args.push('--requirepass', this.password);
    this.#server = new Program('redis-server', 'redis-server', [...args, ...this.args], { log: join(this.folder, 'redis.log') });
    const probe = new Client({ ...this.connection, retryStrategy: () => 20 });
    probe.on('error', () => {});
    try {
      await until('redis answers', async () => (await probe.ping().catch(() => null)) === 'PONG');
    } finally {
      probe.disconnect();
    }
  }

  #tlsArgs() {
    const file = (name) => join(this.folder, `${name}.pem`);
    const own = ['--tls-cert-file', file('cert'), '--tls-key-file', file('key'), '--tls-ca-cert-file', file('ca')];
    return ['--port', '0', '--tls-port', `${this.port}`, ...own, '--tls-auth-clients', 'no'];
  }

  /** Kills the server as a power cut would. */
  async down() {
    this.#server.kill();
    await this.#server.ended;
  }

  async close() {
    for (const client of this.#clients) client.disconnect();
    await this.#server.stop();
  }
}
