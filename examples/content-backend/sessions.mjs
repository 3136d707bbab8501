// Sessions as express-session and connect-redis keep them: JSON under `session:sess:<id>` for a day, the id signed in a
// cookie.

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { redis } from './redis.mjs';

const NAME = 'app.sid';
const MAX_AGE_S = 24 * 60 * 60;
const secret = process.env.SESSION_SECRET ?? 'dev-only';

const sign = (id) => createHmac('sha256', secret).update(id).digest('base64url');

/** Logs a user in: the value of `Set-Cookie`. */
export async function begin(userId) {
  const id = randomBytes(18).toString('base64url');
  const cookie = { originalMaxAge: MAX_AGE_S * 1000, expires: new Date(Date.now() + MAX_AGE_S * 1000), httpOnly: true, path: '/' };
  await redis.set(`session:sess:${id}`, JSON.stringify({ cookie, userId }), 'EX', MAX_AGE_S);
  return `${NAME}=s%3A${id}.${sign(id)}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${MAX_AGE_S}`;
}

/** The session that a request came with, if its cookie is ours: {id, userId}. */
export async function of(request) {
  const [, id, signature] = (request.headers.cookie ?? '').match(/app\.sid=s%3A([\w-]+)\.([\w-]+)/) ?? [];
  if (!id) return null;
  const [given, own] = [Buffer.from(signature), Buffer.from(sign(id))];
  if (given.length !== own.length || !timingSafeEqual(given, own)) return null;
  const held = await redis.get(`session:sess:${id}`);
  return held && { id, userId: JSON.parse(held).userId };
}
