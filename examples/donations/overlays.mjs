// The team's WebSocket server: every streamer's overlay hears of that streamer's donations, each of them once.

import Redis from 'ioredis';
import { WebSocketServer } from 'ws';

// Donations of which a repetition is recognised: more than a host can have in flight.
const REMEMBERED = 10_000;

export class Overlays {
  #clients = new Map();
  #seen = new Set();
  #subscriber;

  /** Beside the HTTP server, at /overlay?streamer=NAME. */
  constructor(server, connection) {
    new WebSocketServer({ server, path: '/overlay' }).on('connection', (socket, request) => {
      const streamer = new URL(request.url, 'http://overlay').searchParams.get('streamer');
      const sockets = this.#clients.get(streamer) ?? new Set();
      this.#clients.set(streamer, sockets.add(socket));
      socket.on('close', () => sockets.delete(socket));
    });
    // A connection that has subscribed can do nothing else, so it is one of its own.
    this.#subscriber = new Redis(connection);
    this.#subscriber.on('message', (_, text) => this.#broadcast(JSON.parse(text)));
  }

  async ready() {
    await this.#subscriber.subscribe('overlay');
  }

  #broadcast({ tenantId, idempotencyKey, data }) {
    if (this.#seen.has(idempotencyKey)) return;
    this.#seen.add(idempotencyKey);
    if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value);
    for (const socket of this.#clients.get(tenantId) ?? []) socket.send(JSON.stringify(data));
  }

  close() {
    this.#subscriber.disconnect();
  }
}
