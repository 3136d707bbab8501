// Does one thing after the other with the real BullMQ, at the time it is told: the other side of the differential test.
//
//   node differential.mjs bullmq5|bullmq6 redis://…/db queue...
//   {"now": 1700000000000, "act": {"do": "add", …}}      one JSON request a line, answered before the next is read
//   {"ok": …} or {"error": code or message}
//
// What the requests are is told in `act.rs`. Tokens are the test's own; where BullMQ uses the token of the job that ended
// for the one it fetches in the same step, `real` knows which.

import { createInterface } from 'node:readline';

const [library, url, ...names] = process.argv.slice(2);

let now = Date.now();
class ToldDate extends Date {
  constructor(...args) {
    super(...(args.length > 0 ? args : [now]));
  }
  static now() {
    return now;
  }
}
globalThis.Date = ToldDate;

const { Queue, Worker, FlowProducer, Job } = await import(library);
const { hostname: host, port, pathname } = new URL(url);
const connection = { host, port: Number(port), db: Number(pathname.slice(1)), maxRetriesPerRequest: null };

const queues = new Map();
for (const name of names) {
  const queue = new Queue(name, { connection, skipMetasUpdate: true });
  const worker = new Worker(name, undefined, { connection, autorun: false });
  const errors = [];
  worker.on('error', (error) => errors.push(String(error?.message ?? error)));
  await Promise.all([queue.waitUntilReady(), worker.waitUntilReady()]);
  queues.set(name, { queue, worker, errors, held: new Map() });
}
const flows = new FlowProducer({ connection });
await flows.waitUntilReady();
const real = new Map();

const of = (name) => queues.get(name);
const tokenOf = (token) => real.get(token) ?? token;

/** The same for the end of an attempt, which may come too late. A token that BullMQ has used for the job again since would
 * make it the end of the newer attempt; with us no token is used twice. */
function endingToken({ held }, id, token) {
  const tokens = [...held.keys()];
  const later = tokens.slice(tokens.indexOf(token) + 1);
  const again = later.some((other) => held.get(other).id === id && tokenOf(other) === tokenOf(token));
  return again ? 'too late' : tokenOf(token);
}

async function jobOf({ queue }, id) {
  return (await Job.fromId(queue, id)) ?? new Job(queue, '', {}, {}, id);
}

// --- what a worker does ---

function prepare({ worker }, { lock, name, limiter, metrics }) {
  Object.assign(worker.opts, {
    lockDuration: lock,
    name: name ?? undefined,
    limiter: limiter ?? undefined,
    metrics: metrics ? { maxDataPoints: metrics } : undefined,
  });
  worker.limitUntil = 0;
  worker.blockUntil = 0;
}

const shown = (job) => ({
  id: job.id,
  name: job.name,
  made: job.attemptsMade,
  started: job.attemptsStarted,
  stalled: job.stalledCounter,
  deferred: job.deferredFailure ?? null,
});

async function claim(on, tokens, got) {
  const { worker, held } = on;
  const clients = library === 'bullmq5' ? [await worker.client, null] : [];
  for (const token of tokens) {
    worker.limitUntil = 0;
    const job = await worker._getNextJob(...clients, token, { block: false });
    if (!job) break;
    held.set(token, job);
    got.push(shown(job));
  }
}

function reply({ worker, errors }, got, ended) {
  const none = got.length === 0;
  return { jobs: got, limited: none && worker.limitUntil > 0, due: (none && worker.blockUntil) || 0, ended, errors: errors.splice(0) };
}

async function end(on, { id, token, how }, fetch) {
  const { worker, held } = on;
  const own = endingToken(on, id, token);
  const job = held.get(token) ?? (await Job.fromId(worker, id)) ?? new Job(worker, '', {}, {}, id);
  switch (how.end) {
    case 'complete':
      return job.moveToCompleted(how.value, own, fetch);
    case 'fail': {
      const error = new Error(how.reason);
      error.stack = how.reason;
      if (how.final) error.name = 'UnrecoverableError';
      return job.moveToFailed(error, own, fetch);
    }
    case 'delay':
      return job.moveToDelayed(how.until, own);
    case 'wait':
      await job.moveToWait(own);
      return;
    case 'rest':
      // A handler asks for the rest first. Here it comes second: an attempt that lost its job must not make others rest.
      await job.moveToWait(own);
      await worker.rateLimit(how.ms);
      return;
    case 'children': {
      if (!(await job.moveToWaitingChildren(own))) throw Object.assign(new Error('nothing to wait for'), { code: 7 });
      return;
    }
  }
}

async function finish(on, { ends, next, ...settings }) {
  const { worker, held } = on;
  const ended = [];
  const got = [];
  let tokens = next;
  prepare(on, settings);
  for (const [i, one] of ends.entries()) {
    const fetch = i === ends.length - 1 && next.length > 0;
    try {
      const result = await end(on, one, fetch);
      ended.push(0);
      const [data, id, rest, due] = Array.isArray(result) ? result : [];
      // A final end has looked for another job; one that is tried again later has only where it found one.
      if (fetch && (id || one.how.end === 'complete' || held.get(one.token)?.finishedOn)) {
        tokens = [];
        worker.updateDelays(rest, due);
        const own = tokenOf(one.token);
        const job = await worker.nextJobFromJobData(data || undefined, id, own);
        if (job) {
          real.set(next[0], own);
          held.set(next[0], job);
          got.push(shown(job));
          tokens = next.slice(1);
        }
      }
    } catch (error) {
      if (typeof error.code !== 'number') throw error;
      ended.push(error.code);
    }
  }
  await claim(on, tokens, got);
  return reply(on, got, ended);
}

// --- looking ---

async function children(on, id) {
  const job = await jobOf(on, id);
  const { processed = {}, unprocessed = [], failed = [], ignored = {} } = await job.getDependencies();
  return {
    pending: [...unprocessed].sort(),
    completed: Object.entries(processed).sort(),
    ignored: Object.entries(ignored).sort(),
    failed: [...failed].sort(),
  };
}

async function look(on, { ids, deduplications, priorities }) {
  const { queue } = on;
  const counts = await queue.getJobCounts();
  const ranges = {};
  for (const state of ['active', 'delayed', 'prioritized', 'waiting-children', 'wait']) {
    ranges[state] = await queue.getRanges([state], 0, 19, true);
  }
  for (const state of ['completed', 'failed']) ranges[state] = await queue.getRanges([state], 0, 19);
  if (library === 'bullmq5') ranges.wait = ranges.wait.concat(await queue.getRanges(['paused'], 0, 19, true)).slice(0, 20);
  const jobs = {};
  for (const id of ids) {
    const job = await Job.fromId(queue, id);
    const { timestamp, delay, priority, progress, returnvalue, failedReason, processedOn, finishedOn } = job ?? {};
    jobs[id] = !job ? null : {
      state: await job.getState(),
      name: job.name,
      data: job.data,
      logs: (await queue.getJobLogs(id)).logs,
      made: job.attemptsMade,
      started: job.attemptsStarted,
      by: job.processedBy ?? null,
      parent: job.parentKey ?? null,
      scheduler: job.repeatJobKey ?? null,
      deduplication: job.deduplicationId ?? null,
      timestamp, delay, priority, progress: progress ?? 0, returnvalue: returnvalue ?? null,
      failedReason: failedReason ?? null, processedOn: processedOn ?? null, finishedOn: finishedOn ?? null,
      stacktrace: job.stacktrace ?? [],
      children: await children(on, id),
    };
  }
  const owners = {};
  for (const id of deduplications) owners[id] = await queue.getDeduplicationJobId(id);
  const schedulers = await queue.getJobSchedulers(0, 19, true);
  const points = async (kind) => {
    const { meta, data, count } = await queue.getMetrics(kind);
    return { total: meta.count, last: meta.prevTS || null, points: data.map(Number), length: count };
  };
  const limit = await queue.getGlobalRateLimit();
  return {
    counts: {
      active: counts.active, completed: counts.completed, delayed: counts.delayed, failed: counts.failed,
      prioritized: counts.prioritized, 'waiting-children': counts['waiting-children'],
      waiting: counts.waiting + (counts.paused ?? 0),
    },
    ranges, jobs, owners,
    paused: await queue.isPaused(),
    concurrency: await queue.getGlobalConcurrency(),
    rate: limit && [limit.max, limit.duration],
    // Without a limit it tells of any window of a worker's own limit, used up or not; with a number, only of one used up.
    rests: (await queue.getRateLimitTtl(limit ? undefined : Number.MAX_SAFE_INTEGER)) > 0,
    priorities: await queue.getCountsPerPriority(priorities),
    schedulers: schedulers.map((s) => ({
      id: s.key, name: s.name, next: s.next, iterations: s.iterationCount, every: s.every ?? null,
      pattern: s.pattern ?? null, tz: s.tz ?? null, limit: s.limit ?? null, start: s.startDate ?? null, end: s.endDate ?? null,
      data: s.template?.data ?? null,
    })),
    metrics: { completed: await points('completed'), failed: await points('failed') },
  };
}

// --- what can be asked ---

const acts = {
  forget: async () => {
    real.clear();
    for (const { held } of queues.values()) held.clear();
  },
  add: async (on, { jobs, bulk }) => {
    if (bulk) return (await on.queue.addBulk(jobs)).map((job) => job.id);
    const [{ name, data, opts }] = jobs;
    return [(await on.queue.add(name, data, opts)).id];
  },
  flow: async (on, { tree }) => {
    const ids = ({ job, children = [] }) => [job.id, ...children.map(ids)];
    return ids(await flows.add(tree));
  },
  claim: async (on, { next, ...settings }) => {
    const got = [];
    prepare(on, settings);
    await claim(on, next, got);
    return reply(on, got, []);
  },
  finish,
  renew: async ({ worker }, { locks, ms }) => {
    const gone = [];
    for (const { id, token } of locks) {
      const job = new Job(worker, '', {}, {}, id);
      if (!(await job.extendLock(tokenOf(token), ms))) gone.push(id);
    }
    return gone.sort();
  },
  stall: async ({ worker }, { interval, max }) => {
    Object.assign(worker.opts, { stalledInterval: interval, maxStalledCount: max });
    return [...(await (worker.scripts ?? worker.backend).moveStalledJobsToWait())].sort();
  },
  progress: async (on, { id, value }) => void (await (await jobOf(on, id)).updateProgress(value)),
  log: async (on, { id, lines, keep }) => {
    let count = 0;
    for (const line of lines) count = await Job.addJobLog(on.queue, id, line, keep ?? undefined);
    return count;
  },
  data: async (on, { id, value }) => void (await (await jobOf(on, id)).updateData(value)),
  pause: async ({ queue }) => void (await queue.pause()),
  resume: async ({ queue }) => void (await queue.resume()),
  promote: async (on, { id }) => void (await (await jobOf(on, id)).promote()),
  retry: async (on, { id, state, reset }) => {
    const job = await jobOf(on, id);
    await job.retry(state, reset ? { resetAttemptsMade: true, resetAttemptsStarted: true } : {});
  },
  remove: async ({ queue }, { id, tree }) => queue.remove(id, { removeChildren: tree }),
  prune: async (on, { id }) => void (await (await jobOf(on, id)).removeUnprocessedChildren()),
  leave: async (on, { id }) => (await jobOf(on, id)).removeChildDependency(),
  drain: async ({ queue }, { delayed }) => void (await queue.drain(delayed)),
  clean: async ({ queue }, { state, grace, limit }) => (await queue.clean(grace, limit, state)).sort(),
  delay: async (on, { id, ms }) => void (await (await jobOf(on, id)).changeDelay(ms)),
  priority: async (on, { id, priority, front }) => void (await (await jobOf(on, id)).changePriority({ priority, lifo: front })),
  'promote-all': async ({ queue }, { count }) => void (await queue.promoteJobs({ count })),
  'retry-all': async ({ queue }, { state, before, count }) => void (await queue.retryJobs({ state, timestamp: before, count })),
  obliterate: async ({ queue }, { force }) => {
    try {
      await queue.obliterate({ force });
    } catch (error) {
      throw /active jobs/.test(error.message) ? new Error('Active') : error;
    }
  },
  concurrency: async ({ queue }, { max }) =>
    void (await (max === null ? queue.removeGlobalConcurrency() : queue.setGlobalConcurrency(max))),
  rate: async ({ queue }, { rate }) =>
    void (await (rate === null ? queue.removeGlobalRateLimit() : queue.setGlobalRateLimit(rate.max, rate.duration))),
  rest: async ({ queue }, { ms }) => void (await (ms === null ? queue.removeRateLimitKey() : queue.rateLimit(ms))),
  release: async ({ queue }, { deduplication }) => (await queue.removeDeduplicationKey(deduplication)) > 0,
  schedule: async ({ queue }, { id, repeat, template }) => {
    const job = await queue.upsertJobScheduler(id, repeat, template);
    return { job: job?.id ?? null };
  },
  unschedule: async ({ queue }, { id }) => queue.removeJobScheduler(id),
  look,
};

async function answer(line) {
  const { now: told, act } = JSON.parse(line);
  now = told;
  try {
    return { ok: (await acts[act.do](of(act.queue), act)) ?? null };
  } catch (error) {
    return { error: error?.code ?? String(error?.message ?? error), said: String(error?.message ?? error) };
  }
}

process.stdout.write('{"ok":"ready"}\n');
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(line))}\n`);
}
process.exit(0);
