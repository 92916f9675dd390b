// A reverse proxy that does as it is told, between a client and the examples.

import { createServer, request } from 'node:http';
import { connect } from 'node:net';

/**
 * Passes requests on by path: `routes` maps prefixes to `host:port`, the longest first.
 *
 * `websockets` says what happens to handshakes: `pass`, `refuse` (502), or a number of ms after which
 * the connection is cut. The first `head` of them win every race: until then all other requests for
 * /rt are held back for a second. `requests` collects the heads of all requests.
 */
export class Proxy {
  requests = [];
  websockets = 'pass';
  head = 0;
  #routes;
  #server;
  #sockets = new Set();

  static async start(routes) {
    const proxy = new Proxy();
    proxy.#routes = Object.entries(routes).sort(([a], [b]) => b.length - a.length);
    proxy.#server = createServer((from, to) => {
      if (proxy.head === 0 || !from.url.startsWith('/rt')) proxy.#pass(from, to);
      else setTimeout(() => proxy.#pass(from, to), 1000);
    });
    proxy.#server.on('upgrade', (from, socket, head) => proxy.#tunnel(from, socket, head));
    proxy.#server.on('connection', (socket) => track(proxy.#sockets, socket));
    // Long requests are the point.
    proxy.#server.requestTimeout = 0;
    await new Promise((resolve) => {
      proxy.#server.listen(0, '127.0.0.1', resolve);
    });
    return proxy;
  }

  get host() {
    return `127.0.0.1:${this.#server.address().port}`;
  }

  /** Cuts all connections and returns how many that were. */
  cut() {
    const { size } = this.#sockets;
    for (const socket of this.#sockets) socket.destroy();
    return size;
  }

  async stop() {
    const closed = new Promise((resolve) => {
      this.#server.close(resolve);
    });
    this.cut();
    await closed;
  }

  #backend(from) {
    this.requests.push({ method: from.method, url: from.url, headers: from.headers });
    const [, host] = this.#routes.find(([prefix]) => from.url.startsWith(prefix));
    const [hostname, port] = host.split(':');
    return { hostname, port };
  }

  #pass(from, to) {
    const { method, url: path, headers } = from;
    const onward = request({ ...this.#backend(from), method, path, headers }, (response) => {
      to.writeHead(response.statusCode, response.rawHeaders);
      to.flushHeaders();
      response.on('error', () => to.destroy());
      response.pipe(to);
    });
    onward.on('error', () => (to.headersSent ? to.destroy() : to.writeHead(502).end()));
    to.on('close', () => onward.destroy());
    from.pipe(onward);
  }

  #tunnel(from, socket, head) {
    const { hostname, port } = this.#backend(from);
    socket.on('error', () => {});
    if (this.head > 0) this.head -= 1;
    if (this.websockets === 'refuse') {
      socket.end('HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
      return;
    }
    const onward = connect(Number(port), hostname);
    track(this.#sockets, onward);
    onward.on('error', () => {});
    for (const [one, other] of [[socket, onward], [onward, socket]]) {
      one.on('close', () => other.destroy());
    }
    const fields = [];
    for (let i = 0; i < from.rawHeaders.length; i += 2) {
      fields.push(`${from.rawHeaders[i]}: ${from.rawHeaders[i + 1]}\r\n`);
    }
    onward.write(`${from.method} ${from.url} HTTP/1.1\r\n${fields.join('')}\r\n`);
    onward.write(head);
    socket.pipe(onward).pipe(socket);
    if (typeof this.websockets === 'number') {
      setTimeout(() => socket.destroy(), this.websockets).unref();
    }
  }
}

function track(set, socket) {
  set.add(socket);
  socket.on('close', () => set.delete(socket));
}
