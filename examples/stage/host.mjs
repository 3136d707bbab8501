// A Jobcell host: the program that the example is about, started in the story's folder.

import { join } from 'node:path';
import { Program } from './programs.mjs';
import { freePort } from './ports.mjs';
import { until } from './wait.mjs';

export class Host {
  #program;

  /** Starts `jobcell run` and waits until it is ready, unless `ready` is false. */
  static async start({ program, folder, name, env = {}, args = [], ready = true }) {
    const host = new Host();
    const port = await freePort();
    host.name = name;
    host.url = `http://127.0.0.1:${port}`;
    host.log = join(folder, `${name}.log`);
    host.#program = new Program(name, program, ['run', ...args], {
      cwd: folder,
      env: { JOBCELL_SERVER__LISTEN: `127.0.0.1:${port}`, NO_COLOR: '1', ...env },
      log: host.log,
    });
    if (ready) await host.ready();
    return host;
  }

  get pid() {
    return this.#program.pid;
  }

  /** Whether it still runs. */
  get isUp() {
    return !this.#program.end;
  }

  get lines() {
    return this.#program.lines;
  }

  /** The first line of its log that matches. */
  line(pattern, options) {
    return this.#program.line(pattern, options);
  }

  async ready() {
    await until(`${this.name} is ready`, async () => {
      if (this.#program.end) {
        throw new Error(`${this.name} ended (${JSON.stringify(this.#program.end)}):\n${this.lines.slice(-15).join('\n')}`);
      }
      return (await fetch(`${this.url}/readyz`).catch(() => null))?.ok;
    });
  }

  /** One call of the HTTP API: its status and what it answered, JSON where it is JSON. */
  async api(method, path, body) {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const answer = await fetch(this.url + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    const text = await answer.text();
    const isJson = /json/.test(answer.headers.get('content-type') ?? '');
    return { status: answer.status, headers: answer.headers, body: isJson && text ? JSON.parse(text) : text };
  }

  async get(path) {
    const { status, body } = await this.api('GET', path);
    if (status !== 200) throw new Error(`GET ${path}: ${status} ${JSON.stringify(body)}`);
    return body;
  }

  /** The sum of a metric's series whose labels all match. */
  async metric(name, labels = {}) {
    const text = await this.get('/metrics');
    let sum = 0;
    for (const line of text.split('\n')) {
      const [, found, set = '', value] = line.match(/^(\w+)(\{.*\})? (\S+)$/) ?? [];
      const matches = Object.entries(labels).every(([label, wanted]) => set.includes(`${label}="${wanted}"`));
      if (found === name && matches) sum += Number(value);
    }
    return sum;
  }

  /** Ends it as a power cut would. */
  async kill() {
    this.#program.kill();
    await this.#program.ended;
  }

  signal(name) {
    this.#program.signal(name);
  }

  /** Asks it to end as operators do: it finishes what runs. Its exit code. */
  stop() {
    return this.#program.stop();
  }
}
