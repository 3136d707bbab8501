// What the team has: its database, its web servers, and people in front of them.

import { Database } from './database.mjs';

export class Team {
  static async gather(stage) {
    const team = new Team();
    team.stage = stage;
    team.database = new Database();
    team.databaseUrl = (await stage.service((request) => team.database.answer(request))).url;
    return team;
  }

  /** What a host is started with. Only REDIS_URL is the team's; the rest is where this story's database is. */
  hostEnv(redisUrl) {
    return {
      REDIS_URL: redisUrl,
      JOBCELL_HANDLERS__CONTENT__GRANTS__CONFIG__DATABASE: this.databaseUrl,
      JOBCELL_HANDLERS__CONTENT__GRANTS__HTTP: `[{ url = "${this.databaseUrl}/*", methods = ["GET", "POST"], private = true }]`,
    };
  }

  host(redisUrl, name) {
    return this.stage.host({ name, env: this.hostEnv(redisUrl) });
  }

  /** A web server. */
  async api(redisUrl, env = {}) {
    const port = await this.stage.freePort();
    const program = this.stage.script('api.mjs', {
      env: { REDIS_URL: redisUrl, SESSION_SECRET: 'story', DATABASE_URL: this.databaseUrl, PORT: `${port}`, ...env },
    });
    await program.line(/^Listening on/);
    return { url: `http://127.0.0.1:${port}`, program };
  }
}

/** Somebody with a browser: logged in when they have a name. */
export class Visitor {
  static async at(api, user) {
    const visitor = new Visitor();
    visitor.api = api;
    if (user) visitor.cookie = (await visitor.ask('POST', '/login', { user })).headers.get('set-cookie').split(';')[0];
    return visitor;
  }

  /** The id of the session, as it stands in Redis. */
  get session() {
    return this.cookie.match(/s%3A([\w-]+)\./)[1];
  }

  async ask(method, path, body) {
    const answer = await fetch(this.api.url + path, {
      method,
      headers: { 'content-type': 'application/json', ...(this.cookie && { cookie: this.cookie }) },
      body: body && JSON.stringify(body),
    });
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers, body: text ? JSON.parse(text) : null };
  }
}

/** So many at once. */
export const many = (count, act) => Promise.all(Array.from({ length: count }, (_, i) => act(i)));
