// The team's producer: a paid donation becomes a flow on the queues they have.

import { FlowProducer, QueueEvents } from 'bullmq';

/** From the variables of .env.local. */
export const connection = () => ({
  host: process.env.REDIS_HOST ?? 'localhost',
  port: Number(process.env.REDIS_PORT ?? 6379),
  password: process.env.REDIS_PASSWORD || undefined,
});

export class Donations {
  #flows = new FlowProducer({ connection: connection() });
  #events = new QueueEvents('donationQueue', { connection: connection() });

  /** Before the first donation: an end that nobody listened to is not told again. */
  ready() {
    return this.#events.waitUntilReady();
  }

  /**
   * Queues the donation that a webhook of the payment provider reports. `checkout` is what we know of it ourselves;
   * `headers` and `body` are the webhook as it came, byte for byte: its signature covers them.
   */
  async accept(checkout, { headers, body }) {
    const { donation, streamer, donor, message, picture, amount, currency } = checkout;
    const { job } = await this.#flows.add({
      name: 'donation',
      queueName: 'donationQueue',
      data: { donation, streamer, donor, message, picture },
      opts: { attempts: 5, backoff: { type: 'exponential', delay: 500 } },
      children: [
        {
          name: 'verify-payment',
          queueName: 'donationQueue',
          data: {
            provider: 'stripe',
            headers: { 'stripe-signature': headers['stripe-signature'] ?? [] },
            body,
            expect: { amount, currency },
          },
          // A refusal is told to the donation, which ends with the reason; `failParentOnFailure` would only say that
          // a child failed.
          opts: { attempts: 5, backoff: { type: 'exponential', delay: 500 }, continueParentOnFailure: true },
        },
      ],
    });
    return job;
  }

  /** What became of it in the end: the saved donation, or why it was refused. */
  async outcome(job) {
    try {
      return { state: 'saved', ...(await job.waitUntilFinished(this.#events)) };
    } catch (refused) {
      return { state: 'refused', reason: refused.message };
    }
  }

  async close() {
    await Promise.all([this.#flows.close(), this.#events.close()]);
  }
}
