// A host that dies with its hands full.

// Donations that are on their way then.
const IN_FLIGHT = 12;

export async function killed(stage, set) {
  const {
    people,
    toStorage,
    hostEnv,
    host,
    uploads,
    photo,
    linus,
    queues: [, mediaQueue],
  } = set;
  stage.scene(
    `The host is killed in the middle of a picture, with ${IN_FLIGHT} donations on their way. Another one is started.`,
  );
  const checkouts = [];
  for (let i = 0; i < IN_FLIGHT; i += 1)
    checkouts.push(await people.checkout({ streamer: 'linus', picture: photo, donor: `Donor ${i}` }));
  const { held, drop } = toStorage.hold(({ method, path }) => method === 'PUT' && path.endsWith('/w320.jpg'));
  const jobs = [];
  for (const checkout of checkouts) jobs.push(await people.deliver(people.webhook(checkout)));
  const { path } = await held;
  const donation = path.match(/thumbs\/([^/]+)\//)[1];
  stage.equal('it holds one thumbnail and writes the second', await uploads.list(`donations/thumbs/${donation}/`), [
    `donations/thumbs/${donation}/w160.jpg`,
  ]);
  const unfinished = await mediaQueue.getJobCountByTypes('wait', 'active', 'delayed');
  await host.kill();
  drop();
  const other = await stage.host({ env: hostEnv });
  const outcomes = await Promise.all(jobs.map((job) => people.outcome(job)));
  stage.equal(
    'every donation is saved, with its picture',
    outcomes.map(({ state, pictures }) => [state, pictures?.length]),
    jobs.map(() => ['saved', 3]),
  );
  const cut = await mediaQueue.getJob(
    `${jobs[checkouts.findIndex((checkout) => checkout.donation === donation)]}-media`,
  );
  stage.check(
    'the picture that was cut off was taken over by the other one',
    cut.attemptsStarted > 1 && cut.stalledCounter >= 1,
    cut.asJSON(),
  );
  const rows = (await people.rows()).map((row) => row.donation);
  const times = checkouts.map(({ donation: id }) => rows.filter((row) => row === id).length);
  stage.equal(
    'each is saved exactly once',
    times,
    checkouts.map(() => 1),
  );
  await stage.until('the overlay shows all', () => linus.shown.length >= IN_FLIGHT);
  stage.equal(
    'and shown exactly once',
    linus.shown.map((shown) => shown.donation).sort(),
    checkouts.map((checkout) => checkout.donation).sort(),
  );
  const done = await other.metric('jobcell_jobs_total', { queue: 'mediaQueue', outcome: 'completed' });
  stage.check('the other host did the rest', done > 0, `${done}`);
  stage.figure('donations on their way at the kill', IN_FLIGHT);
  stage.figure('pictures unfinished at the kill', unfinished);
}
