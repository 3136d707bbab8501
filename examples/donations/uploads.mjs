// The team's storage code: requests to an S3-compatible storage, signed with SigV4. Supabase, MinIO, R2 and S3 all take
// them; an SDK does the same in more lines.

import { createHash, createHmac } from 'node:crypto';

const sha256 = (data) => createHash('sha256').update(data).digest('hex');
const hmac = (key, text) => createHmac('sha256', key).update(text).digest();

export class Uploads {
  constructor({ endpoint, region, bucket, accessKeyId, secretAccessKey }) {
    Object.assign(this, { endpoint, region, bucket, accessKeyId, secretAccessKey });
  }

  static fromEnv(bucket, env = process.env) {
    return new Uploads({
      bucket,
      endpoint: env.AWS_ENDPOINT,
      region: env.AWS_REGION,
      accessKeyId: env.AWS_ACCESS_KEY_ID,
      secretAccessKey: env.AWS_SECRET_ACCESS_KEY,
    });
  }

  async put(key, body, contentType) {
    await this.#ask('PUT', key, { body, headers: { 'content-type': contentType } });
  }

  /** {bytes, contentType}, or null where there is none. */
  async get(key) {
    const answer = await this.#ask('GET', key, { missing: 404 });
    if (answer.status === 404) return null;
    return { bytes: Buffer.from(await answer.arrayBuffer()), contentType: answer.headers.get('content-type') };
  }

  /** The keys below a folder. */
  async list(prefix) {
    const answer = await this.#ask('GET', '', { query: { 'list-type': '2', prefix } });
    return [...(await answer.text()).matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key]) => key);
  }

  async #ask(method, key, { body = '', headers = {}, query = {}, missing } = {}) {
    const url = new URL(`${this.endpoint}/${this.bucket}/${key}`);
    url.search = new URLSearchParams(query);
    const answer = await fetch(url, {
      method,
      headers: this.#signed(method, url, body, headers),
      body: body || undefined,
    });
    if (answer.ok || answer.status === missing) return answer;
    throw new Error(
      `${method} ${url.pathname}: the storage answers ${answer.status}: ${(await answer.text()).slice(0, 200)}`,
    );
  }

  #signed(method, url, body, headers) {
    const time = new Date().toISOString().replace(/[-:]|\.\d{3}/g, '');
    const scope = [time.slice(0, 8), this.region, 's3', 'aws4_request'];
    const all = { ...headers, host: url.host, 'x-amz-content-sha256': sha256(body), 'x-amz-date': time };
    const names = Object.keys(all).sort();
    const query = [...url.searchParams]
      .map((pair) => pair.map(encodeURIComponent).join('='))
      .sort()
      .join('&');
    const lines = names.map((name) => `${name}:${all[name]}`);
    const signedHeaders = names.join(';');
    const asked = [method, url.pathname, query, ...lines, '', signedHeaders, all['x-amz-content-sha256']].join('\n');
    const text = ['AWS4-HMAC-SHA256', time, scope.join('/'), sha256(asked)].join('\n');
    const signature = hmac(scope.reduce(hmac, `AWS4${this.secretAccessKey}`), text).toString('hex');
    const credential = `Credential=${this.accessKeyId}/${scope.join('/')}`;
    const authorization = `AWS4-HMAC-SHA256 ${credential}, SignedHeaders=${signedHeaders}, Signature=${signature}`;
    return { ...all, authorization };
  }
}
