// The team's database behind its API, in memory. It takes its time for a feed, applies each idempotency key once, and
// can be told to hold an answer back.

const FEED_MS = 300;
const FOLLOWERS = { ada: ['grace', 'edith'] };

const pause = (ms) => new Promise((next) => setTimeout(next, ms));

export class Database {
  posts = [];
  comments = [];
  totals = {};
  /** How often a feed was made, and what was sent twice. */
  feedQueries = 0;
  repeats = 0;

  #applied = new Map();
  #holds = [];

  /** The next request that matches is carried out and its answer held back: `held` resolves then, `let_go()` ends it. */
  hold(matches) {
    let come, go;
    const hold = { matches, held: new Promise((met) => (come = met)), gone: new Promise((left) => (go = left)), come: () => come() };
    this.#holds.push(hold);
    return { held: hold.held, letGo: go };
  }

  async answer({ method, path, headers, body }) {
    const { pathname, searchParams } = new URL(path, 'http://database');
    const hold = this.#holds.find(({ matches }) => matches(method, pathname));
    if (hold) this.#holds.splice(this.#holds.indexOf(hold), 1);
    const key = headers['idempotency-key'];
    const result = method === 'POST'
      ? this.#once(pathname, key, () => this.#write(pathname, JSON.parse(body.toString())))
      : await this.#read(pathname, searchParams);
    hold?.come();
    await hold?.gone;
    return { status: result === undefined ? 404 : 200, body: JSON.stringify(result ?? {}), headers: { 'content-type': 'application/json' } };
  }

  #once(pathname, key, write) {
    const place = `${pathname} ${key}`;
    if (this.#applied.has(place)) this.repeats += 1;
    else this.#applied.set(place, write());
    return this.#applied.get(place);
  }

  #write(pathname, body) {
    if (pathname === '/posts') {
      const post = { id: `${this.posts.length + 1}`, ...body };
      this.posts.push(post);
      return { ...post, followers: FOLLOWERS[body.author] ?? [] };
    }
    if (pathname === '/comments') {
      this.comments.push(body);
      return { comments: this.comments.filter(({ post }) => post === body.post).length };
    }
    if (pathname !== '/counters') return undefined;
    for (const [counter, { by }] of Object.entries(body)) this.totals[counter] = (this.totals[counter] ?? 0) + by;
    return { applied: Object.keys(body).length };
  }

  async #read(pathname, query) {
    if (pathname === '/feed') {
      this.feedQueries += 1;
      const posts = this.posts.map(({ id, title }) => ({ id, title })).reverse();
      await pause(FEED_MS);
      return { for: query.get('user') ?? 'everybody', posts };
    }
    const [, what, id] = pathname.split('/');
    if (what === 'counters') return this.totals[id] ?? 0;
    if (what === 'posts') return this.posts.find((post) => post.id === id);
    return undefined;
  }
}
