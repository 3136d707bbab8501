// Asks the cron parsers of both majors of BullMQ when a pattern comes next, as their workers do: anew for each time.
//
//   stdin: one JSON array of {"pattern", "tz", "start": ms, "steps"}
//   stdout: one JSON array of {"five": […], "six": […]}, each a list of ms, ended by a message when it can find no more;
//           and "changes": the times between the start and the last answer, and a day around, at which the clock is changed

import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const of = (library) => createRequire(new URL(`node_modules/${library}/package.json`, import.meta.url));
const parsers = {
  five: of('bullmq5')('cron-parser').parseExpression,
  six: (pattern, options) => of('bullmq6')('cron-parser').CronExpressionParser.parse(pattern, options),
};
const { IANAZone } = of('bullmq5')('luxon');
const HOUR = 3600_000;

function times(parse, { pattern, tz, start, steps }) {
  const found = [];
  let now = start;
  for (let i = 0; i < steps; i++) {
    try {
      now = parse(pattern, { tz, currentDate: new Date(now) }).next().getTime();
    } catch (error) {
      found.push(String(error.message));
      break;
    }
    found.push(now);
  }
  return found;
}

function changes(tz, from, to) {
  const zone = IANAZone.create(tz);
  const found = [];
  const look = (at, step) => {
    if (zone.offset(at) === zone.offset(at + step)) return;
    if (step === HOUR) found.push(at + HOUR);
    else for (let hour = 0; hour < step; hour += HOUR) look(at + hour, HOUR);
  };
  for (let at = from; at < to; at += 24 * HOUR) look(at, 24 * HOUR);
  return found;
}

const answers = JSON.parse(readFileSync(0, 'utf8')).map((asked) => {
  const [five, six] = [times(parsers.five, asked), times(parsers.six, asked)];
  const last = Math.max(asked.start, ...[...five, ...six].filter(Number.isFinite));
  // Patterns that seldom come are not compared hour by hour, so what is beyond a year does not matter.
  const to = Math.min(last + 24 * HOUR, asked.start + 400 * 24 * HOUR);
  return { five, six, changes: changes(asked.tz, asked.start - 24 * HOUR, to) };
});
process.stdout.write(JSON.stringify(answers));
