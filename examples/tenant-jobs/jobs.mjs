// The team's table `jobs`. They have it in Postgres; here it is a file of lines, so that the example needs no database.
// Every change is written before it is told to anybody, and is there again after a restart, as in a database.

import { randomUUID } from 'node:crypto';
import { closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs';

const FINAL = ['COMPLETED', 'FAILED'];

export class Jobs {
  #rows = new Map();
  #file;

  constructor(path) {
    const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean) : [];
    for (const row of lines.map((line) => JSON.parse(line))) this.#rows.set(row.id, row);
    this.#file = openSync(path, 'a');
  }

  /** INSERT INTO jobs … RETURNING * */
  insert(tenantId, file) {
    return this.#write({ id: randomUUID(), tenantId, file, status: 'QUEUED', result: null, error: null });
  }

  /** SELECT * FROM jobs WHERE id = … */
  get(id) {
    return this.#rows.get(id);
  }

  /** UPDATE jobs SET … WHERE id = … */
  update(id, columns) {
    const row = this.#rows.get(id);
    return row && this.#write({ ...row, ...columns });
  }

  /** UPDATE jobs SET status = … WHERE id = … AND status NOT IN ('COMPLETED', 'FAILED') */
  progress(id, status) {
    const row = this.#rows.get(id);
    if (row && !FINAL.includes(row.status)) this.#write({ ...row, status });
  }

  /** SELECT * FROM jobs WHERE status NOT IN ('COMPLETED', 'FAILED') */
  open() {
    return [...this.#rows.values()].filter((row) => !FINAL.includes(row.status));
  }

  /** SELECT status, count(*) FROM jobs WHERE tenant_id = … GROUP BY status */
  counts(tenantId) {
    const counts = {};
    for (const row of this.#rows.values()) {
      if (row.tenantId === tenantId) counts[row.status] = (counts[row.status] ?? 0) + 1;
    }
    return counts;
  }

  close() {
    closeSync(this.#file);
  }

  #write(row) {
    this.#rows.set(row.id, row);
    writeSync(this.#file, `${JSON.stringify(row)}\n`);
    return row;
  }
}
