// A job carries a session, and the handler finds out whose it is.

import { Queue } from 'bullmq';
import { Visitor } from '../team.mjs';

export async function sessions(stage, team) {
  const { api1: api, database, keys, redis, post } = team;
  const bob = await Visitor.at(api, 'bob');
  const { status } = await bob.ask('POST', `/posts/${post}/comments`, { text: 'Well said', id: 'first' });
  stage.equal('the web server takes the comment and answers at once', status, 202);
  await stage.until('the comment is saved', () => database.comments.length === 1);
  stage.equal('it is saved as the user whose session it is', database.comments, [{ post, user: 'bob', text: 'Well said' }]);
  await stage.until('the number is shown', async () => (await bob.ask('GET', `/posts/${post}`)).body.comments === 1);

  const cookie = { originalMaxAge: 86_400_000, expires: '2020-01-01T00:00:00.000Z', httpOnly: true, path: '/' };
  await keys.set('session:sess:old', JSON.stringify({ cookie, userId: 'bob' }));
  await keys.hset('session:sess:odd', 'userId', 'bob');
  const queue = stage.closing(new Queue('content', { connection: redis.connection }));
  queue.on('error', () => {});
  for (const [session, why] of [['old', /has expired; log in again/], ['never', /is over, or never was/], ['odd', /is no text/]]) {
    const job = await queue.add('add-comment', { session, post, text: 'x' }, { attempts: 5 });
    const failed = await stage.until(`the job with session ${session} fails`, async () => {
      const now = await queue.getJob(job.id);
      return now.finishedOn && now;
    });
    stage.note(`session ${session}: ${failed.failedReason}`);
    stage.check(`session ${session} is refused, at the first attempt and for good`, why.test(failed.failedReason) && failed.attemptsMade === 1, [failed.failedReason, failed.attemptsMade]);
  }
  stage.equal('none of these was saved', database.comments.length, 1);
  await keys.del('session:sess:old', 'session:sess:odd');
}
