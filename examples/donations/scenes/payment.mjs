// A payment that was never made, and one that is reported twice.

export async function forged(stage, { people, queues: [donationQueue, mediaQueue], toStorage, photo, ada }) {
  stage.scene('Somebody reports a payment that was never made; then the provider reports a real one twice.');
  const before = {
    rows: (await people.rows()).length,
    shown: ada.shown.length,
    pictures: await mediaQueue.getJobCounts(),
    asked: toStorage.requests.length,
  };
  const checkout = await people.checkout({ streamer: 'ada', picture: photo, amount: 500000 });
  const refused = await people.outcome(await people.deliver(people.forgery(checkout)));
  stage.check(
    'the producer learns why',
    refused.state === 'refused' && /payment was refused: .*bad signature/.test(refused.reason),
    refused,
  );
  stage.note(refused.reason);
  const after = {
    rows: (await people.rows()).length,
    shown: ada.shown.length,
    pictures: await mediaQueue.getJobCounts(),
    asked: toStorage.requests.length,
  };
  stage.equal('nothing was processed, stored, saved or broadcast', after, before);
  stage.figure('forged payments saved', after.rows - before.rows);

  const real = people.webhook(checkout);
  const first = await people.outcome(await people.deliver(real));
  const second = await people.outcome(await people.deliver(real));
  stage.check('the same event again is refused as a replay', first.state === 'saved' && /replay/.test(second.reason), [
    first,
    second,
  ]);
  stage.equal('and is saved once', (await people.rows()).length, before.rows + 1);
  stage.equal(
    'nothing waits or runs any more',
    await donationQueue.getJobCounts('wait', 'active', 'waiting-children', 'delayed'),
    { wait: 0, active: 0, 'waiting-children': 0, delayed: 0 },
  );
}
