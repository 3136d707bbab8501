// What a story has at hand: a Redis, hosts, a storage, services, programs of the team's, and a report. See report.mjs for
// `scene`, `check`, `equal`, `note` and `figure`.

import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Gate } from './gate.mjs';
import { Host } from './host.mjs';
import { freePort } from './ports.mjs';
import { Program, output } from './programs.mjs';
import { Redis } from './redis.mjs';
import { Report } from './report.mjs';
import { Service } from './service.mjs';
import { Storage } from './storage.mjs';
import { until } from './wait.mjs';

export class Stage extends Report {
  until = until;
  freePort = freePort;

  #open = [];
  #hosts = [];

  /** Makes the folder anew: the example's jobcell.toml, and in `handlers/` the components that it names. */
  static async set({ name, home, folder, program, guests }) {
    const stage = new Stage();
    Object.assign(stage, { name, home, folder: resolve(folder), program: resolve(program) });
    await rm(stage.folder, { recursive: true, force: true });
    await mkdir(join(stage.folder, 'handlers'), { recursive: true });
    const config = await readFile(join(home, 'jobcell.toml'), 'utf8');
    await writeFile(join(stage.folder, 'jobcell.toml'), config);
    for (const [, handler] of config.matchAll(/^source = "handlers\/([\w-]+\.wasm)"/gm)) {
      await cp(join(guests, handler), join(stage.folder, 'handlers', handler));
    }
    return stage;
  }

  /** A Redis of its own; `password` and more `args` for the server where the story needs them. */
  async redis(options) {
    return this.#keep(await Redis.start(this.folder, options));
  }

  /** A host, ready unless `ready: false`. `env` is what the team has in its .env: REDIS_URL, secrets. */
  async host({ env, args, ready, name = `host-${this.#hosts.length + 1}` } = {}) {
    const host = await Host.start({ program: this.program, folder: this.folder, name, env, args, ready });
    this.#hosts.push(host);
    return this.#keep({ close: () => host.stop() }, host);
  }

  /** An HTTP service on loopback. */
  async service(answer) {
    return this.#keep(await Service.start(answer));
  }

  /** An S3-compatible storage with one bucket. */
  async storage(options) {
    return this.#keep(await Storage.start(this.folder, options));
  }

  /** Something between two programs that speak HTTP, which notes requests and can hold one back. */
  async gate(target) {
    return this.#keep(await Gate.start(target));
  }

  /** A script of the example's own, run by Node beside the story. */
  script(file, { args = [], env } = {}) {
    const script = new Program(file, process.execPath, [join(this.home, file), ...args], {
      cwd: this.folder,
      env,
      log: join(this.folder, `${file}.log`),
    });
    return this.#keep({ close: () => script.stop() }, script);
  }

  /** Something that must be closed when the story ends: `close`, `quit`, `disconnect` or `terminate`. */
  closing(thing) {
    const close = ['close', 'quit', 'disconnect', 'terminate'].find((verb) => typeof thing[verb] === 'function');
    return this.#keep({ close: () => thing[close]() }, thing);
  }

  /** `jobcell ARGS`, run to its end: {code, stdout, stderr, json}. */
  async jobcell(args, env) {
    const ran = await output(this.program, args, { cwd: this.folder, env: { NO_COLOR: '1', ...env } });
    let json;
    try {
      json = JSON.parse(ran.stdout);
    } catch {
      // Not asked for JSON, or failed: the texts tell.
    }
    return { ...ran, json };
  }

  async serveUntilInterrupted() {
    for (const host of this.#hosts.filter(({ isUp }) => isUp)) this.note(`${host.name} is at ${host.url}; Ctrl-C ends`);
    await new Promise((ended) => process.once('SIGINT', ended));
  }

  /** Closes everything, what was opened last first. */
  async strike() {
    for (const thing of this.#open.reverse()) await thing.close();
    this.#open = [];
  }

  fail(error) {
    super.fail(error);
    for (const host of this.#hosts) this.note(`--- the end of ${host.log}:\n${host.lines.slice(-12).join('\n')}`);
    process.exit(this.close());
  }

  close() {
    return super.close(this.folder);
  }

  #keep(closable, thing = closable) {
    this.#open.push(closable);
    return thing;
  }
}
