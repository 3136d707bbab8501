// What fails for a moment or for good: a picture, the storage, the database, Redis.

export async function broken(stage, { people, ada }) {
  stage.scene("A donor's picture is none.");
  const shown = ada.shown.length;
  const { job } = await people.donate({
    streamer: 'ada',
    picture: Buffer.from('GIF? No: a text that calls itself a picture.'),
  });
  const outcome = await people.outcome(job);
  stage.check(
    'the donation is saved without it, and says so',
    outcome.state === 'saved' && outcome.pictures.length === 0 && outcome.degraded,
    outcome,
  );
  stage.note(outcome.degraded);
  await stage.until('the overlay shows it', () => ada.shown.length > shown);
  stage.equal('the overlay shows it without a picture', ada.shown[shown].degraded, outcome.degraded);
}

export async function away(stage, { people, storage, queues: [, mediaQueue], photo, ada }) {
  stage.scene('The storage is away for a moment; then for longer.');
  const moment = await people.checkout({ streamer: 'ada', picture: photo });
  await storage.down();
  const job = await people.deliver(people.webhook(moment));
  await stage.until(
    'the picture has failed once',
    async () => (await mediaQueue.getJob(`${job}-media`))?.attemptsMade > 0,
  );
  await storage.up();
  const whole = await people.outcome(job);
  const picture = await mediaQueue.getJob(`${job}-media`);
  stage.check(
    'for a moment: the picture is tried again, and there in the end',
    whole.pictures?.length === 3 && picture.attemptsMade > 1,
    whole,
  );
  stage.note(`thumbnails: attempt ${picture.attemptsMade}; the first said: ${picture.stacktrace[0].split('\n')[0]}`);

  const longer = await people.checkout({ streamer: 'ada', picture: photo });
  await storage.down();
  const degraded = await people.outcome(await people.deliver(people.webhook(longer)));
  await storage.up();
  stage.check(
    'for longer: the donation goes on without a picture',
    degraded.state === 'saved' && /blob store/.test(degraded.degraded),
    degraded,
  );
  stage.note(degraded.degraded);
  await stage.until('the overlay shows them', () =>
    [moment, longer].every(({ donation }) => ada.shown.some((shown) => shown.donation === donation)),
  );
}

export async function database(stage, { people, toBackend, hostEnv, queues: [donationQueue], ada }) {
  stage.scene('The database is busy; then it refuses a donation.');
  const saving = ({ path }) => path === '/internal/donations';
  toBackend.answer(saving, { status: 503, body: 'the database is restarting' }, 2);
  const busy = await people.donate({ streamer: 'ada' });
  const saved = await people.outcome(busy.job);
  const save = await donationQueue.getJob(`${busy.job}-save`);
  stage.equal(
    'a busy database is asked again, and has one row',
    [saved.state, save.attemptsMade, (await people.rows()).filter((row) => row.donation === busy.donation).length],
    ['saved', 3, 1],
  );

  toBackend.answer(saving, { status: 422, body: 'streamers.name: no such streamer' });
  const unwanted = await people.donate({ streamer: 'ada' });
  const step = `${unwanted.job}-save`;
  await stage.until('it is refused', async () => (await donationQueue.getJob(step))?.failedReason);
  const waiting = await donationQueue.getJob(unwanted.job);
  stage.equal('a refused donation waits: it is paid', await waiting.getState(), 'waiting-children');
  stage.note((await donationQueue.getJob(step)).failedReason);
  const retried = await stage.jobcell(['job', 'retry', 'donationQueue', step], hostEnv);
  const outcome = await people.outcome(unwanted.job);
  stage.equal('`jobcell job retry` of that step, and it goes on', [retried.code, outcome.state], [0, 'saved']);
  await stage.until('the overlay shows them', () =>
    [busy, unwanted].every(({ donation }) => ada.shown.some((shown) => shown.donation === donation)),
  );
}

export async function outage(stage, { people, redis, toStorage, host, photo, ada, queues: [, mediaQueue] }) {
  stage.scene('Redis is killed in the middle of a picture, and started again.');
  const [running, late] = [
    await people.checkout({ streamer: 'ada', picture: photo }),
    await people.checkout({ streamer: 'ada', picture: photo }),
  ];
  const { held, drop } = toStorage.hold(({ method, path }) => method === 'PUT' && path.endsWith('/w320.jpg'));
  const job = await people.deliver(people.webhook(running));
  await held;
  await redis.down();
  const delivered = people.deliver(people.webhook(late));
  await stage.until(
    'the host says that it is not ready',
    async () => (await host.api('GET', '/readyz')).status === 503,
  );
  await redis.up();
  // What is published to nobody is lost: the backend's subscription and the story's own have to be back.
  const client = redis.client();
  await stage.until('the overlays are subscribed', async () => (await client.pubsub('NUMSUB', 'overlay'))[1] >= 2);
  drop();
  const outcomes = [await people.outcome(job), await people.outcome(await delivered)];
  stage.equal(
    'both donations are saved with their pictures, the one that ran and the one that was reported meanwhile',
    outcomes.map(({ state, pictures }) => [state, pictures?.length]),
    [
      ['saved', 3],
      ['saved', 3],
    ],
  );
  const picture = await mediaQueue.getJob(`${job}-media`);
  stage.note(`the picture that ran: ${picture.attemptsStarted} start(s), ${picture.stalledCounter} time(s) taken over`);
  await stage.until('the overlay shows them', () =>
    [running, late].every(({ donation }) => ada.shown.some((shown) => shown.donation === donation)),
  );
}
