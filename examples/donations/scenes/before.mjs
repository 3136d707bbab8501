// What the flow that one writes first does with a payment that was never made.

import { FlowProducer, QueueEvents } from 'bullmq';
import { chain, prefix } from '../before.mjs';

export async function before(stage, { people, redis: { connection }, env }) {
  stage.scene('Before: a plain chain of jobs, in Node. Somebody reports a payment that was never made.');
  const worker = stage.script('before.mjs', { env });
  await worker.line(/^working/);
  const events = stage.closing(new QueueEvents('overlayQueue', { connection, prefix }));
  await events.waitUntilReady();
  const flows = stage.closing(new FlowProducer({ connection, prefix }));
  const donation = { donation: 'don_forged', streamer: 'ada' };
  const { job } = await flows.add(chain(donation, people.forgery(donation)));
  await job.waitUntilFinished(events);
  await worker.line(/^broadcast don_forged/);
  const saved = worker.lines.filter((line) => line === 'saved don_forged').length;
  stage.check(
    'the payment fails the picture, the picture fails nothing: it is saved and broadcast',
    saved === 1,
    worker.lines,
  );
  stage.figure('forged payments saved by the plain chain', saved);
  await worker.stop();
}
