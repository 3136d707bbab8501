// The team's donations table: one file, one line a row, two unique columns.

import { appendFileSync, existsSync, readFileSync } from 'node:fs';

export class Database {
  rows = [];

  #file;

  constructor(file) {
    this.#file = file;
    if (existsSync(file))
      this.rows = readFileSync(file, 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
  }

  /** Inserts once: a row with this key, or of this payment's event, is the one that is there. {row, isNew}. */
  insert(key, donation) {
    const there = this.rows.find((row) => row.key === key || row.event === donation.event);
    if (there) return { row: there, isNew: false };
    const row = { id: `${this.rows.length + 1}`, key, ...donation };
    appendFileSync(this.#file, `${JSON.stringify(row)}\n`);
    this.rows.push(row);
    return { row, isNew: true };
  }
}
