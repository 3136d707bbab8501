// Something between two programs that speak HTTP: it passes requests on as they are, notes them, and can hold one back
// or answer in the other's place.

import { createServer, request as ask } from 'node:http';

export class Gate {
  /** What went through, in order: {method, path}. */
  requests = [];

  #server;
  #rules = [];

  static async start(target) {
    const gate = new Gate();
    gate.target = new URL(target);
    gate.#server = createServer((request, response) => gate.#meet(request, response));
    await new Promise((ready, failed) => gate.#server.once('error', failed).listen(0, '127.0.0.1', ready));
    gate.url = `http://127.0.0.1:${gate.#server.address().port}`;
    return gate;
  }

  /** Holds back the next request that matches: `held` resolves when it is there, `drop()` breaks its connection. */
  hold(matches) {
    let come, socket;
    const held = new Promise((met) => (come = met));
    const act = (request, response) => {
      socket = response.socket;
      come({ method: request.method, path: request.url });
    };
    this.#rules.push({ matches, act, times: 1 });
    return { held, drop: () => socket?.destroy() };
  }

  /** Answers so many of the requests that match itself. */
  answer(matches, { status, headers = {}, body = '' }, times = 1) {
    const act = (request, response) => {
      request.resume();
      response.writeHead(status, headers).end(body);
    };
    this.#rules.push({ matches, act, times });
  }

  #meet(request, response) {
    const seen = { method: request.method, path: request.url };
    this.requests.push(seen);
    const rule = this.#rules.find(({ matches, times }) => times > 0 && matches(seen));
    if (rule) {
      rule.times -= 1;
      rule.act(request, response);
      return;
    }
    const { hostname, port } = this.target;
    // With the headers as they came, `host` too: signatures cover it.
    const onwards = ask({
      hostname,
      port,
      method: request.method,
      path: request.url,
      headers: request.headers,
      agent: false,
    });
    onwards.on('response', (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
      answer.on('error', () => response.destroy());
    });
    // Nobody is there: the caller sees its connection break.
    onwards.on('error', () => response.destroy());
    response.on('close', () => onwards.destroy());
    request.pipe(onwards);
  }

  close() {
    this.#server.closeAllConnections();
    return new Promise((closed) => this.#server.close(closed));
  }
}
