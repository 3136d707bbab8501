// The team's programs, started as they start them: Redis, the storage, the API, workers, and Jobcell's hosts.

import { join } from 'node:path';
import { Files } from './files.mjs';
import { Listener } from './listener.mjs';

// In production these are in a vault; jobcell.toml has the hashes of the first three.
const TOKENS = { ops: 'ops-token', acme: 'acme-token', globex: 'globex-token', before: 'before-token', after: 'after-token' };
const INTERNAL_API_TOKEN = 'internal-token-of-this-example';
const FINAL = ['COMPLETED', 'FAILED'];

export class Team {
  static async gather(stage) {
    const team = new Team();
    Object.assign(team, { stage, redis: await stage.redis(), files: await Files.open(stage) });
    team.apiPort = await stage.freePort();
    team.client = team.redis.client();
    await team.startApi();
    return team;
  }

  get apiUrl() {
    return `http://127.0.0.1:${this.apiPort}`;
  }

  async startApi() {
    const tenants = Object.fromEntries(Object.entries(TOKENS).map(([tenant, token]) => [token, tenant]));
    const env = { REDIS_URL: this.redis.url, PORT: `${this.apiPort}`, JOBS_FILE: join(this.stage.folder, 'jobs.jsonl') };
    this.api = this.stage.script('api.mjs', { env: { ...env, INTERNAL_API_TOKEN, TENANT_TOKENS: JSON.stringify(tenants) } });
    await this.api.line(/^the API is at/);
  }

  /** Their own worker. */
  worker() {
    const env = { REDIS_URL: this.redis.url, API_URL: this.apiUrl, FILES_URL: this.files.url, INTERNAL_API_TOKEN };
    return this.stage.script('worker-before.mjs', { env });
  }

  /** What Jobcell is told besides jobcell.toml: the addresses that differ from one run of the story to the next. */
  get #env() {
    const rows = `url = "${this.apiUrl}/internal/jobs/*", methods = ["GET"], private = true, secrets = ["internal-api"]`;
    const files = `url = "${this.files.url}/*", methods = ["GET"], private = true`;
    return {
      REDIS_URL: this.redis.url,
      INTERNAL_API_TOKEN,
      JOBCELL_HANDLERS__JOBS__GRANTS__CONFIG: `{ api = "${this.apiUrl}", files = "${this.files.url}" }`,
      JOBCELL_HANDLERS__JOBS__GRANTS__HTTP: `[{ ${rows} }, { ${files} }]`,
    };
  }

  host() {
    return this.stage.host({ env: this.#env });
  }

  jobcell(...args) {
    return this.stage.jobcell(args, this.#env);
  }

  // --- what clients of the API do

  async ask(tenant, method, path, body) {
    const headers = { authorization: `Bearer ${TOKENS[tenant]}`, 'content-type': 'application/json' };
    const answer = await fetch(this.apiUrl + path, { method, headers, body: body && JSON.stringify(body) });
    return { status: answer.status, body: await answer.json() };
  }

  /** Creates a job for each file, in one request: the rows. */
  async create(tenant, files) {
    return (await this.ask(tenant, 'POST', '/jobs', { files })).body;
  }

  async row({ tenantId, id }) {
    return (await this.ask(tenantId, 'GET', `/jobs/${id}`)).body;
  }

  rows(rows) {
    return Promise.all(rows.map((row) => this.row(row)));
  }

  /** How many jobs of a tenant are in which status. */
  async counts(tenant) {
    return (await this.ask(tenant, 'GET', '/jobs')).body;
  }

  /** The rows once all of them have ended. */
  ended(rows) {
    return this.stage.until(`${rows.length} jobs have ended`, async () => {
      const now = await this.rows(rows);
      return now.every(({ status }) => FINAL.includes(status)) && now;
    });
  }

  /** A WebSocket client of the API. */
  async listen(tenant) {
    const headers = { authorization: `Bearer ${TOKENS[tenant]}` };
    return this.stage.closing(await Listener.socket(`${this.apiUrl}/updates`, { headers }));
  }

  // --- Jobcell's own end of it

  /** A WebSocket client of a host, as a browser connects: it cannot send headers. */
  async listenToHost(host, tenant, query = '') {
    const protocols = ['jobcell', `bearer.${TOKENS[tenant]}`];
    return this.stage.closing(await Listener.socket(`${host.url}/ws${query}`, { protocols }));
  }

  /** Server-sent events of a host, from now on or, as browsers ask for by themselves, after the event heard last. */
  async streamOfHost(host, tenant, lastId) {
    const headers = { authorization: `Bearer ${TOKENS[tenant]}`, ...(lastId && { 'last-event-id': lastId }) };
    return this.stage.closing(await Listener.stream(`${host.url}/api/v1/events`, headers));
  }

  async askHost(host, tenant, path) {
    const answer = await fetch(host.url + path, { headers: { authorization: `Bearer ${TOKENS[tenant]}` } });
    return { status: answer.status, body: await answer.json() };
  }
}
