// Programs beside the story: their output is kept, and none outlives it.

import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

// Lines kept in memory of each; the files have all.
const LINES_KEPT = 5_000;

// What the reader's shell says of a Redis, a storage or a Jobcell of their own is nothing for the story.
const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(REDIS|JOBCELL|AWS)_/.test(name)));

const running = new Set();
process.on('exit', () => {
  for (const program of running) program.kill();
});

export class Program {
  /** What it has said, both streams, the oldest first. */
  lines = [];

  #child;
  #listeners = new Set();

  constructor(name, file, args, { env = {}, cwd, log, quiet = false } = {}) {
    this.name = name;
    this.#child = spawn(file, args, { cwd, env: { ...inherited, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(this);
    const copy = log && createWriteStream(log, { flags: 'a' });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        copy?.write(`${line}\n`);
        if (!quiet) this.lines.push(line);
        if (this.lines.length > LINES_KEPT) this.lines.shift();
        for (const listener of this.#listeners) listener();
      });
    }
    this.ended = new Promise((done) => {
      this.#child.once('error', (error) => done({ error }));
      this.#child.once('close', (code, signal) => done({ code, signal }));
    }).then((end) => {
      running.delete(this);
      this.end = end;
      for (const listener of this.#listeners) listener();
      return end;
    });
  }

  get pid() {
    return this.#child.pid;
  }

  signal(name) {
    this.#child.kill(name);
  }

  /** Ends it at once, as a power cut would. */
  kill() {
    this.#child.kill('SIGKILL');
  }

  /** Asks it to end, waits, and insists after `withinMs`. Its exit code. */
  async stop(withinMs = 20_000) {
    this.#child.kill('SIGTERM');
    const insist = setTimeout(() => this.kill(), withinMs);
    const { code } = await this.ended;
    clearTimeout(insist);
    return code;
  }

  /** The first line that matches, said already or to come. Rejects when the program ends without it, or it takes too long. */
  line(pattern, { within = 30_000 } = {}) {
    return new Promise((found, lost) => {
      const look = () => {
        const line = this.lines.find((said) => pattern.test(said));
        if (line === undefined && !this.end) return;
        this.#listeners.delete(look);
        clearTimeout(timer);
        if (line === undefined) lost(new Error(`${this.name} ended (${JSON.stringify(this.end)}) without saying ${pattern}`));
        else found(line);
      };
      const timer = setTimeout(() => {
        this.#listeners.delete(look);
        lost(new Error(`${this.name} has not said ${pattern} within ${within} ms`));
      }, within);
      this.#listeners.add(look);
      look();
    });
  }
}

/** Runs a program to its end: its exit code and what it printed. */
export async function output(file, args, { env = {}, cwd } = {}) {
  const child = spawn(file, args, { cwd, env: { ...inherited, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const texts = [child.stdout, child.stderr].map(async (stream) => {
    let text = '';
    for await (const chunk of stream.setEncoding('utf8')) text += chunk;
    return text;
  });
  const [code] = await once(child, 'close');
  const [stdout, stderr] = await Promise.all(texts);
  return { code, stdout, stderr };
}
