// A donation through all its steps.

export async function whole(stage, { people, redis, queues: [donationQueue], flows, uploads, photo, ada, linus }) {
  stage.scene('Grace gives 50.00 USD to Ada, with a photograph.');
  const { donation, job } = await people.donate({ streamer: 'ada', picture: photo });
  const outcome = await people.outcome(job);
  stage.equal(
    'the producer gets the result of the whole flow',
    [outcome.state, outcome.amount, outcome.degraded],
    ['saved', 5000, null],
  );
  const keys = outcome.pictures.map(({ key }) => key);
  stage.equal(
    'three thumbnails are in the storage, under the donation',
    await uploads.list(`donations/thumbs/${donation}/`),
    keys.map((key) => `donations/${key}`).sort(),
  );
  const { bytes, contentType } = await uploads.get(`donations/${keys[0]}`);
  stage.check(
    'they are pictures, and the storage knows it',
    bytes.readUInt16BE(0) === 0xffd8 && contentType === 'image/jpeg',
    contentType,
  );
  const rows = await people.rows();
  stage.equal(
    'one row is in the database, with what was paid',
    rows.map((row) => [row.donation, row.amount, row.payment.startsWith('pi_')]),
    [[donation, 5000, true]],
  );
  await stage.until('the overlay shows it', () => ada.shown.length > 0);
  stage.check(
    "Ada's overlay shows it, with the picture",
    ada.shown[0].donation === donation && ada.shown[0].pictures.length === 3,
    ada.shown,
  );
  stage.equal("Linus' overlay shows nothing", linus.shown, []);

  const hash = await redis.client().hgetall(`bull:donationQueue:${job}`);
  stage.equal(
    "`bull:donationQueue:<id>` holds it as BullMQ's clients expect",
    [hash.name, JSON.parse(hash.data).donation, JSON.parse(hash.returnvalue).saved],
    ['donation', donation, rows[0].id],
  );
  const seen = await donationQueue.getJob(job);
  stage.equal(
    'and so they read it',
    [await seen.getState(), seen.attemptsMade, seen.returnvalue.donation],
    ['completed', 1, donation],
  );
  const { children } = await flows.getFlow({ id: job, queueName: 'donationQueue' });
  const steps = children.map((child) => `${child.job.queueName} ${child.job.name}`).sort();
  stage.equal('its steps are a flow to look at', steps, [
    'donationQueue save-donation',
    'donationQueue verify-payment',
    'mediaQueue thumbnails',
    'overlayQueue notify',
  ]);
  for (const { job: step } of children.sort((a, b) => a.job.finishedOn - b.job.finishedOn)) {
    stage.note(`${step.queueName.padEnd(13)} ${step.name.padEnd(14)} ${step.finishedOn - step.processedOn} ms`);
  }
}
