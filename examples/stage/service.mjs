// A small HTTP service of the team's or of somebody they call, on loopback; it notes what it was asked.

import { createServer } from 'node:http';

export class Service {
  /** What it was asked, in order: {method, path, headers, body, at}; `body` is a Buffer. */
  requests = [];

  #server;

  /** `answer(request)` gives {status, headers, body}; an object as body goes out as JSON. It may be async. */
  static async start(answer) {
    const service = new Service();
    service.#server = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const heard = { method: request.method, path: request.url, headers: request.headers, body: Buffer.concat(chunks), at: Date.now() };
      service.requests.push(heard);
      const { status = 200, headers = {}, body = '' } = (await answer(heard)) ?? {};
      const isText = typeof body === 'string' || Buffer.isBuffer(body);
      response.writeHead(status, isText ? headers : { 'content-type': 'application/json', ...headers });
      response.end(isText ? body : JSON.stringify(body));
    });
    await new Promise((ready, failed) => service.#server.once('error', failed).listen(0, '127.0.0.1', ready));
    service.port = service.#server.address().port;
    service.url = `http://127.0.0.1:${service.port}`;
    return service;
  }

  /** For `ws`: a WebSocket server can be put on it. */
  get server() {
    return this.#server;
  }

  close() {
    this.#server.closeAllConnections();
    return new Promise((closed) => this.#server.close(closed));
  }
}
