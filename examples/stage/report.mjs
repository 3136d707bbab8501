// What the reader sees: scenes, what was checked in each, and the figures that were measured.

import { isDeepStrictEqual } from 'node:util';

export class Report {
  checks = 0;
  faults = [];
  figures = {};

  #scenes = 0;
  #started = Date.now();

  title(text) {
    console.log(`\n${text}`);
  }

  /** Opens the next scene: what happens now, in the team's words. */
  scene(text) {
    this.#scenes += 1;
    console.log(`\n${this.#scenes}  ${text}`);
  }

  /** A line of explanation or of what came back. */
  note(text) {
    for (const line of String(text).split('\n')) console.log(`     ${line}`);
  }

  /** Holds or not: a story goes on after a fault, so that all of them are seen. */
  check(claim, holds, found) {
    this.checks += 1;
    console.log(`   ${holds ? '✔' : '✘'} ${claim}`);
    if (holds) return;
    this.faults.push(claim);
    if (found !== undefined) this.note(`found: ${typeof found === 'string' ? found : JSON.stringify(found)}`);
  }

  equal(claim, found, expected) {
    this.check(claim, isDeepStrictEqual(found, expected), `${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`);
  }

  /** A measured figure, with its unit in the name; docs/examples.md shows them. */
  figure(name, value) {
    this.figures[name] = value;
    console.log(`     ${name}: ${typeof value === 'number' ? Math.round(value * 100) / 100 : value}`);
  }

  fail(error) {
    this.faults.push(error.message);
    console.log(`   ✘ ${error.stack}`);
  }

  /** The last line; the exit code. */
  close(folder) {
    const seconds = ((Date.now() - this.#started) / 1000).toFixed(1);
    if (this.faults.length === 0 && this.checks > 0) {
      console.log(`\nEverything as expected: ${this.checks} checks in ${seconds} s. Files, configuration and logs are in ${folder}`);
      return 0;
    }
    console.log(`\n${this.faults.length} of ${this.checks} checks not as expected; the logs are in ${folder}:`);
    for (const fault of this.faults) console.log(`  ✘ ${fault}`);
    return 1;
  }
}
