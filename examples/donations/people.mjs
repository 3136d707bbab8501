// Who is around the team's backend: donors with their pictures, the payment provider, and the streamers' overlays.

import { createHmac } from 'node:crypto';
import { WebSocket } from 'ws';

/** Of `backend`, its address; `webhookSecret` is what the provider signs with. */
export class People {
  /** Webhooks that the backend took. */
  delivered = 0;

  #events = 0;

  constructor(backend, webhookSecret) {
    Object.assign(this, { backend, webhookSecret });
  }

  /** A donor uploads a picture, says how much, and goes to pay: the checkout. */
  async checkout({ streamer, picture, donor = 'Grace', message = 'Go on!', amount = 5000, currency = 'USD' }) {
    const uploaded =
      picture && (await this.#ask('POST', '/uploads', picture, { 'content-type': 'image/jpeg' })).picture;
    const terms = { streamer, donor, message, amount, currency, picture: uploaded };
    return { ...terms, ...(await this.#ask('POST', '/checkouts', JSON.stringify(terms))) };
  }

  /** The provider's webhook that says it was paid: headers and body. */
  webhook({ donation, amount, currency }) {
    this.#events += 1;
    const body = JSON.stringify({
      id: `evt_${this.#events}`,
      object: 'event',
      created: Math.floor(Date.now() / 1000),
      type: 'checkout.session.completed',
      data: {
        object: {
          id: `cs_${this.#events}`,
          object: 'checkout.session',
          client_reference_id: donation,
          amount_total: amount,
          currency: currency.toLowerCase(),
          mode: 'payment',
          payment_intent: `pi_${this.#events}`,
          payment_status: 'paid',
          status: 'complete',
        },
      },
    });
    const at = Math.floor(Date.now() / 1000);
    const signature = createHmac('sha256', this.webhookSecret).update(`${at}.${body}`).digest('hex');
    return { headers: { 'stripe-signature': `t=${at},v1=${signature}` }, body };
  }

  /** A webhook of somebody who has the signature of another one, for a smaller payment. */
  forgery({ donation, amount = 500000, currency = 'USD' }) {
    const { headers } = this.webhook({ donation, amount: 5, currency });
    return { headers, body: this.webhook({ donation, amount, currency }).body };
  }

  /** Delivers a webhook; the id of the donation's job. */
  async deliver({ headers, body }) {
    const { job } = await this.#ask('POST', '/webhooks/stripe', body, headers);
    this.delivered += 1;
    return job;
  }

  /** All of it: the donation's job and its checkout. */
  async donate(terms) {
    const checkout = await this.checkout(terms);
    return { ...checkout, job: await this.deliver(this.webhook(checkout)) };
  }

  /** What the producer learned in the end. */
  outcome(job) {
    return this.#ask('GET', `/outcome?job=${job}`);
  }

  rows() {
    return this.#ask('GET', '/donations');
  }

  /** A streamer's overlay, as it is open in the streaming software: `shown` are the donations that came, in order. */
  async overlay(streamer) {
    const socket = new WebSocket(`${this.backend.replace('http', 'ws')}/overlay?streamer=${streamer}`);
    const shown = [];
    socket.on('message', (text) => shown.push(JSON.parse(text)));
    await new Promise((open, failed) => socket.once('open', open).once('error', failed));
    return { shown, close: () => socket.terminate() };
  }

  async #ask(method, path, body, headers = {}) {
    const answer = await fetch(this.backend + path, { method, headers, body });
    const told = await answer.json();
    if (!answer.ok) throw new Error(`${method} ${path}: the backend answers ${answer.status}: ${JSON.stringify(told)}`);
    return told;
  }
}
