// Somebody with a browser open: what they are told of jobs, over a WebSocket or as server-sent events.

import { WebSocket } from 'ws';

export class Listener {
  /** Every update, in order. */
  heard = [];
  /** Of server-sent events, the place of the last one. */
  lastId = null;

  /** A WebSocket; rejects with the status when it is refused. */
  static socket(url, { protocols = [], headers } = {}) {
    const listener = new Listener();
    const socket = new WebSocket(url.replace(/^http/, 'ws'), protocols, { headers });
    socket.on('message', (text) => listener.heard.push(JSON.parse(text)));
    listener.close = () => socket.terminate();
    return new Promise((open, refused) => {
      socket.once('open', () => open(listener));
      socket.once('unexpected-response', (_request, { statusCode }) => refused(new Error(`refused with ${statusCode}`)));
      socket.once('error', refused);
    });
  }

  /** Server-sent events. */
  static async stream(url, headers) {
    const listener = new Listener();
    const stop = new AbortController();
    listener.close = () => stop.abort();
    const answer = await fetch(url, { headers, signal: stop.signal });
    if (!answer.ok) throw new Error(`refused with ${answer.status}`);
    listener.#read(answer.body).catch(() => {}); // ends when it is closed
    return listener;
  }

  /** The statuses that were told of a job. */
  of(jobId) {
    return this.heard.filter((update) => update.jobId === jobId).map(({ status }) => status);
  }

  /** The jobs that it was told of. */
  get jobs() {
    return [...new Set(this.heard.map(({ jobId }) => jobId))];
  }

  #take(line) {
    const [, field, value] = line.match(/^(id|data): ?(.*)$/) ?? [];
    if (field === 'id') this.lastId = value;
    if (field === 'data') this.heard.push(JSON.parse(value));
  }

  async #read(body) {
    let text = '';
    for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
      const lines = (text + chunk).split('\n');
      text = lines.pop();
      for (const line of lines) this.#take(line);
    }
  }
}
