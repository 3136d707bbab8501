// The error of their handbook: a connection that subscribes can do nothing else.

import { connect } from 'node:net';
import { subscribeToJobUpdates } from '../redis.mjs';
import { numbered } from './files.mjs';

/** What Redis answers to the second of two commands on one connection. */
function answersOnOne(port, ...commands) {
  return new Promise((answered, failed) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(commands.map((command) => `${command}\r\n`).join('')));
    let text = '';
    socket.once('error', failed).setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
      const error = text.split('\r\n').find((line) => line.startsWith('-'));
      if (!error) return;
      socket.destroy();
      answered(error.slice(1));
    });
  });
}

export async function oneConnection(stage, team) {
  const { client, redis } = team;
  const error = await answersOnOne(redis.port, 'SUBSCRIBE job_updates', 'LPUSH job_queue some-id');
  stage.check('Redis refuses to push where somebody listens', /only .*SUBSCRIBE.* allowed/s.test(error), error);
  stage.note(error);

  const told = [];
  const unsubscribe = subscribeToJobUpdates(redis.url, ({ jobId, status }) => told.push(`${jobId} ${status}`));
  await unsubscribe.ready;
  const [{ id }] = await team.create('acme', numbered(1));
  await stage.until('its end is heard', () => told.includes(`${id} COMPLETED`));
  unsubscribe();
  stage.equal('with a connection of its own (theirs, and Jobcell’s) both work', await client.llen('job_queue'), 0);
}
