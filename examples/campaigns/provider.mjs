// The far end: a WhatsApp Cloud API that keeps books. It counts what each recipient got and what each number sent in any
// second, and answers 429 as the real one does.

import { createHmac } from 'node:crypto';

const WINDOW_MS = 1_000;
const LATENCY_MS = 15;

export class Provider {
  /** Messages taken, in order: {id, number, to, about, at}. */
  taken = [];
  /** 429s: because a number sent too fast, and because the story throttled it. */
  tooFast = 0;
  throttled = 0;
  /** Recipients that have no WhatsApp. */
  unknown = new Set();

  #limit;
  #token;
  #service;
  #throttles = new Map();
  #hold = null;

  static async start(stage, { limit, token }) {
    const provider = new Provider();
    provider.#limit = limit;
    provider.#token = token;
    provider.#service = await stage.service((request) => provider.#answer(request));
    return provider;
  }

  get url() {
    return this.#service.url;
  }

  /** From now on and for so long this number is told to wait. */
  throttle(number, ms) {
    this.#throttles.set(number, Date.now() + ms);
  }

  /** Takes the next `count` messages and does not answer. Resolves when it has them; `release` answers whoever still listens. */
  hold(count) {
    const hold = { left: count };
    hold.full = new Promise((full) => { hold.isFull = full; });
    hold.over = new Promise((over) => { hold.release = over; });
    this.#hold = hold;
    return hold.full;
  }

  release() {
    this.#hold.release();
    this.#hold = null;
  }

  /** What was taken of one campaign. */
  of(campaign) {
    return this.taken.filter(({ about }) => about.startsWith(`${campaign}/`));
  }

  /** How many recipients got the message of a campaign, and how many got it more than once. */
  books(campaign) {
    const times = new Map();
    for (const { to } of this.of(campaign)) times.set(to, (times.get(to) ?? 0) + 1);
    return { reached: times.size, twice: [...times.values()].filter((count) => count > 1).length };
  }

  /** The most that a number sent within one second. */
  peak(number) {
    const times = this.taken.filter((one) => one.number === number).map(({ at }) => at);
    let most = 0;
    for (let first = 0, last = 0; last < times.length; last += 1) {
      while (times[last] - times[first] >= WINDOW_MS) first += 1;
      most = Math.max(most, last - first + 1);
    }
    return most;
  }

  async #answer({ method, path, headers, body }) {
    const [, number] = path.match(/^\/v23\.0\/(\d+)\/messages$/) ?? [];
    if (method !== 'POST' || !number) return { status: 404 };
    if (headers.authorization !== `Bearer ${this.#token}`) return refusal(401, 190, 'Invalid OAuth access token');
    const { to, biz_opaque_callback_data: about = '' } = JSON.parse(body);
    const now = Date.now();
    const wait = (this.#throttles.get(number) ?? 0) - now;
    if (wait > 0) {
      this.throttled += 1;
      return refusal(429, 130429, 'Rate limit hit', { 'retry-after': `${Math.ceil(wait / 1_000)}` });
    }
    if (this.#inWindow(number, now) >= this.#limit) {
      this.tooFast += 1;
      return refusal(429, 130429, 'Rate limit hit', { 'retry-after': '1' });
    }
    if (this.unknown.has(to)) return refusal(400, 131026, 'Message undeliverable');
    const id = `wamid.${this.taken.length}`;
    this.taken.push({ id, number, to, about, at: now });
    await this.#think();
    return { body: { messaging_product: 'whatsapp', messages: [{ id }] } };
  }

  async #think() {
    const hold = this.#hold;
    if (!hold || hold.left === 0) return new Promise((done) => setTimeout(done, LATENCY_MS));
    hold.left -= 1;
    if (hold.left === 0) hold.isFull();
    return hold.over;
  }

  #inWindow(number, now) {
    let count = 0;
    for (let at = this.taken.length - 1; at >= 0 && now - this.taken[at].at < WINDOW_MS; at -= 1) {
      if (this.taken[at].number === number) count += 1;
    }
    return count;
  }
}

/** A webhook as the provider sends it. */
export function signed(value, secret) {
  const entry = [{ id: '1', changes: [{ field: 'messages', value }] }];
  const body = JSON.stringify({ object: 'whatsapp_business_account', entry });
  return { body, signature: `sha256=${createHmac('sha256', secret).update(body).digest('hex')}` };
}

function refusal(status, code, message, headers = {}) {
  return { status, headers, body: { error: { code, message, type: 'OAuthException' } } };
}
