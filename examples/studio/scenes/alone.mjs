// Without Redis: the same host, the same queues, one line of warning.

import { clip } from '../clip.mjs';
import { ModerationBefore } from '../moderation-before.mjs';
import { receipt } from '../studio.mjs';

const DAY = 86_400_000;

export async function startsWithoutRedis(stage, studio) {
  const host = await studio.host();
  const app = await studio.app(host);
  const warnings = host.lines.filter((line) => / WARN /.test(line));
  stage.check('the host starts, with exactly one line of warning', warnings.length === 1, warnings);
  stage.note(warnings[0]?.replace(/^\S+ +/, ''));
  stage.check('it says where jobs live, what is missing and which variables bring it',
    ['embedded store', 'second host', 'REDIS_HOST'].every((word) => warnings[0]?.includes(word)), warnings);
  const { redis, status } = await app.get('/api/health');
  stage.equal('their /api/health says so', [status, redis.status, redis.latency], ['healthy', 'not_configured', null]);
  return { host, app };
}

export async function everyQueue(stage, studio, { app }) {
  await studio.upload('v1.y4m', clip());
  const { result: video } = await app.run('video-enhancement', 'enhance', { videoId: 'v1', clip: 'clips/v1.y4m' });
  stage.check(`video-enhancement: ${video.frames} frames levelled; flicker ${video.noiseBefore} → ${video.noiseAfter}`,
    video.frames === 12 && video.noiseAfter < video.noiseBefore, video);
  await stage.until('the plugin made thumbnails', async () => (await studio.files('thumbs')).length === 2);
  const poster = await studio.file(video.poster);
  stage.check(`its poster is frame ${video.posterFrame}, and the media plugin made thumbnails of it`,
    poster.subarray(1, 4).toString() === 'PNG', await studio.files('thumbs'));

  const at = Date.UTC(2026, 10, 21, 9, 59, 59);
  const events = [{ name: 'view', at }, { name: 'view', at: at + 1_000 }, { name: 'like', at }];
  const { result: counted } = await app.run('analytics', 'count', { events });
  stage.equal('analytics: events are in the hours they belong to', counted.hours,
    { '2026-11-21T09': { like: 1, view: 1 }, '2026-11-21T10': { view: 1 } });

  const { result: synced } = await app.run('chain-sync', 'sync', { chain: 'main' });
  stage.equal('chain-sync: 230 blocks in 5 pages, each checked', [synced.place.height, synced.pages], [230, 5]);
  const forged = await app.run('chain-sync', 'sync', { chain: 'forged' }).catch((error) => error.message);
  stage.check('a block that somebody changed is found, and nothing behind it is copied', /block 70 says its hash is/.test(forged), forged);

  const today = Date.UTC(2026, 10, 21, 12);
  const posts = [
    { id: 'p-2025', at: today - 365 * DAY, likes: 3 },
    { id: 'p-2024', at: Date.UTC(2024, 10, 21), likes: 9 },
    { id: 'p-yesterday', at: today - DAY, likes: 50 },
  ];
  const { result: mined } = await app.run('memory-mining', 'mine', { userId: 'u1', today: '2026-11-21', posts });
  stage.equal('memory-mining: what was posted on this day in other years', mined.memories.map(({ postId, yearsAgo }) => [postId, yearsAgo]),
    [['p-2025', 1], ['p-2024', 2]]);

  const documents = [{ id: 'bio', text: 'Écris-moi: ada@example.com\nou 514-555-0199' }, { id: 'dm-7', text: 'carte 4539 1488 0343 6467, NAS 130 692 544' }];
  const { result: report } = await app.run('privacy-audit', 'audit', { documents });
  stage.equal('privacy-audit: personal data is found', report.counts, { email: 1, phone: 1, card: 1, sin: 1 });
  stage.check('and the report has none of it', !/ada|555|4539|130/.test(JSON.stringify(report.findings)), report);
}

export async function moderatedOnce(stage, studio, { host, app }) {
  const theirs = new ModerationBefore(studio.ai.url, studio.key, null);
  await theirs.moderate('the same picture, before');
  await theirs.moderate('the same picture, before');
  stage.equal('their own cache is skipped without Redis: two posts, two calls', theirs.calls, 2);
  const before = studio.asked().length;
  const first = await app.post('post-1', 'the same picture');
  const second = await app.post('post-2', 'the same picture');
  stage.equal('two posts with the same picture have the same verdict', second.decision, first.decision);
  stage.equal('and with result-cache the AI service was asked once', studio.asked(before).length, 1);
  const { cached, computed_by: by, cpu_us: cpu = 0 } = await receipt(host, 'moderation', second.job);
  stage.equal('the second one made no cell: its receipt says whose result it is', [cached, by, cpu], [true, `moderation/${first.job}`, 0]);

  await host.kill();
  const again = await studio.host();
  const later = await studio.app(again);
  await later.post('post-3', 'the same picture');
  stage.equal('after a kill -9 and a new start it is still known', studio.asked(before).length, 1);
  const counts = (await later.get('/api/admin/queue/stats')).moderation;
  stage.equal('their /api/admin/queue/stats counts them', [counts.completed, counts.failed], [3, 0]);
  await later.stop();
  await app.stop();
  await again.stop();
}
