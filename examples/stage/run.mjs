// Runs one example from beginning to end: `cargo xtask example NAME` builds what it needs and calls this.
//
//   node run.mjs NAME --folder DIR [--serve]
//
// JOBCELL_BIN is the host's program and JOBCELL_GUESTS the folder of the built handlers. Everything the example writes
// is in DIR. The exit code is 0 only when all was as the story expects.

import { access } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Stage } from './stage.mjs';

// Longer than any story takes, on two busy cores.
const LIMIT_MS = 240_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { folder: { type: 'string' }, serve: { type: 'boolean', default: false } },
});
const [name] = positionals;
const { JOBCELL_BIN: program, JOBCELL_GUESTS: guests } = process.env;
if (!name || !values.folder || !program || !guests) {
  console.error('usage: JOBCELL_BIN=… JOBCELL_GUESTS=… node run.mjs NAME --folder DIR [--serve]');
  process.exit(2);
}

const home = join(dirname(dirname(fileURLToPath(import.meta.url))), name);
await access(join(home, 'story.mjs')).catch(() => {
  console.error(`there is no example ${name}: ${home} has no story.mjs`);
  process.exit(2);
});
const { default: story } = await import(join(home, 'story.mjs'));

const stage = await Stage.set({ name, home, folder: values.folder, program, guests });
const limit = setTimeout(() => stage.fail(new Error(`the story has not ended within ${LIMIT_MS / 1000} s`)), LIMIT_MS);
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130));

try {
  await story(stage);
  clearTimeout(limit);
  if (values.serve) await stage.serveUntilInterrupted();
  await stage.strike();
} catch (error) {
  stage.fail(error);
}
process.exit(stage.close());
