// What is there in the end, counted.

export async function counted(
  stage,
  { people, toBackend, published, ada, linus, queues: [donationQueue, mediaQueue] },
) {
  stage.scene('All in all.');
  const rows = await people.rows();
  const shown = [...ada.shown, ...linus.shown];
  stage.equal(
    'what is saved is what is shown',
    shown.map(({ donation }) => donation).sort(),
    rows.map(({ donation }) => donation).sort(),
  );
  stage.equal('no event is in two rows', new Set(rows.map(({ event }) => event)).size, rows.length);
  stage.equal('every broadcast has a key of its own', new Set(published).size, rows.length);
  const counts = await Promise.all(
    [donationQueue, mediaQueue].map((queue) => queue.getJobCounts('active', 'wait', 'waiting-children', 'delayed')),
  );
  stage.equal(
    'nothing is left behind',
    counts.map((count) => Object.values(count)),
    [
      [0, 0, 0, 0],
      [0, 0, 0, 0],
    ],
  );
  const refused = (await donationQueue.getFailed()).filter(({ name }) => name === 'donation').length;
  stage.equal(
    'none is lost: whatever the provider reported is saved, or was refused',
    rows.length + refused,
    people.delivered,
  );
  stage.figure('donations reported', people.delivered);
  stage.figure('refused', refused);
  stage.figure('saved', rows.length);
  stage.figure('lost', people.delivered - refused - rows.length);
  stage.figure('requests to save', toBackend.requests.length);
  stage.figure('rows in excess', rows.length - new Set(rows.map(({ donation }) => donation)).size);
  stage.figure('messages published', published.length);
  stage.figure('donations shown', shown.length);
}
