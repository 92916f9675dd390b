// The three transports of the Switchback protocol (docs/protocol.md, 2), for browsers.
//
// A wire is one connection of one transport. It calls `on.message(data)` for every message,
// `on.heard()` for every other sign of life, and at most once `on.end(why)`. It is written to with
// `send`, or `sendWithNext` what may wait a moment for something else to go with; and ended with
// `close` (politely), `leave` (with the page, after some last messages) or `abort`.

const REQUEST_TIMEOUT = 10_000; // ms that a POST may take
const CLOSE_TIMEOUT = 5_000; // ms that what was sent has to leave before a close
const BATCH = { messages: 100, bytes: 64 * 1024 }; // of one POST
const MOMENT = 50; // ms that a message may wait for the next one, to share its POST
const RETRIES = 2; // of a request that got no response, before its connection is given up

const encoder = new TextEncoder();
// `ignoreBOM: true` means: leave a leading U+FEFF alone. It is part of the message.
const utf8 = () => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Why an attachment ended. */
export class Ended extends Error {
  constructor(code, reason, retryAfter) {
    super(reason);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** 2.1 */
class WebSocketWire {
  #socket;

  constructor(url, hello, on) {
    const address = new URL(url);
    address.protocol = address.protocol.replace('http', 'ws');
    this.#socket = new WebSocket(address, ['switchback', `switchback.${hello}`]);
    this.#socket.binaryType = 'arraybuffer';
    this.#socket.onmessage = ({ data }) => {
      on.message(typeof data === 'string' ? data : new Uint8Array(data));
    };
    this.#socket.onclose = ({ code, reason }) => {
      on.end(new Ended(code, reason || (code === 1006 ? 'cut or refused' : `closed with ${code}`)));
    };
  }

  send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(message);
  }

  sendWithNext(message) {
    this.send(message);
  }

  // Pages may close with 1000 and 3000–4999 only (WHATWG WebSockets, 3.1).
  close(code) {
    this.#socket.close(code);
  }

  leave(messages) {
    for (const message of messages) this.send(message);
    this.close(1000);
  }

  abort() {
    this.#socket.onmessage = null;
    this.#socket.onclose = null;
    this.#socket.close();
  }
}

/** What event streams and long-polls share: requests that name a connection, and POSTs (2.4). */
class HttpWire {
  connection = null;
  #kind;
  #url;
  #stop = new AbortController();
  #queue = []; // the records that the server may not have
  #first = 1; // the number of the first of them
  #posting = null;
  #on;

  constructor(kind, url, on) {
    this.#kind = kind;
    this.#url = url;
    this.#on = on;
  }

  /** Takes the promise of the receiving half, which lasts as long as the connection. */
  carry(receiving) {
    receiving.catch((error) => this.#end(error));
  }

  /** Makes a request. Answers other than success throw an `Ended`. */
  async request(method, parameters, options = {}) {
    const url = new URL(this.#url);
    url.searchParams.set('transport', this.#kind);
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
    const headers = { ...options.headers };
    if (this.connection !== null) headers['Switchback-Connection'] = this.connection;
    const signals = [this.#stop.signal, ...(options.signal ? [options.signal] : [])];
    const response = await fetch(url, {
      cache: 'no-store',
      ...options,
      method,
      headers,
      signal: AbortSignal.any(signals),
    });
    if (response.status === 200 || response.status === 204) return response;
    const { error, message, code, reason } = await response.json().catch(() => ({}));
    const text = reason ?? (error ? `${error}: ${message}` : `status ${response.status}`);
    throw new Ended(code ?? 1006, text, 1000 * response.headers.get('Retry-After') || undefined);
  }

  send(message) {
    this.#queue.push(encodeRecord(message));
    this.post();
  }

  sendWithNext(message) {
    this.#queue.push(encodeRecord(message));
    setTimeout(() => this.post(), MOMENT);
  }

  /** Starts to send what is queued, unless that is under way. */
  post() {
    if (this.#posting !== null || this.#queue.length === 0) return;
    if (this.connection === null || this.#stop.signal.aborted) return;
    this.#posting = this.#postAll()
      .catch((error) => this.#end(error))
      .finally(() => {
        this.#posting = null;
        this.post();
      });
  }

  async #postAll() {
    await null; // What is sent in one go travels in one POST.
    while (this.#queue.length > 0) {
      let count = 0;
      for (let bytes = 0; count < Math.min(this.#queue.length, BATCH.messages); count += 1) {
        bytes += this.#queue[count].length;
        if (count > 0 && bytes > BATCH.bytes) break;
      }
      const body = concat(this.#queue.slice(0, count));
      // The server skips what it has already, so a POST without an answer is simply repeated.
      const { received } = await this.persist(async () => {
        const signal = AbortSignal.timeout(REQUEST_TIMEOUT);
        const headers = { 'Content-Type': 'application/x-switchback-batch' };
        const response = await this.request('POST', { first: this.#first }, { body, headers, signal });
        return response.json();
      });
      const taken = received - this.#first + 1;
      if (!(taken >= 0 && taken <= count)) throw new Ended(1002, 'a wrong answer to a POST');
      this.#queue.splice(0, taken);
      this.#first += taken;
      if (taken === 0) await sleep(250); // The server has no room.
    }
  }

  /** Repeats a request that got no response. */
  async persist(attempt) {
    for (let tries = 0; ; tries += 1) {
      try {
        return await attempt();
      } catch (error) {
        if (error instanceof Ended || this.#stop.signal.aborted || tries === RETRIES) throw error;
      }
      await sleep(250 * 2 ** tries);
    }
  }

  async close(code) {
    this.#on = null;
    this.post();
    await Promise.race([this.#posting, sleep(CLOSE_TIMEOUT)]);
    if (this.connection !== null) {
      await this.request('DELETE', { code }, { keepalive: true }).catch(() => {});
    }
    this.#stop.abort();
  }

  // Everything that may be missing, and the last messages, in one request that outlives the page. The
  // server waits a moment for it when the stream of the page has ended (2.4). No DELETE: it could
  // overtake the POST, and it ends the connection but not the session.
  leave(messages) {
    this.#on = null;
    this.#posting ??= Promise.resolve(); // No other POST from now on.
    this.#queue.push(...messages.map(encodeRecord));
    if (this.connection !== null) {
      const body = concat(this.#queue);
      const headers = { 'Content-Type': 'application/x-switchback-batch' };
      const options = { body, headers, keepalive: true };
      this.request('POST', { first: this.#first }, options).catch(() => {});
    }
  }

  abort() {
    this.#on = null;
    this.#stop.abort();
  }

  #end(error) {
    const on = this.#on;
    this.abort();
    on?.end(error instanceof Ended ? error : new Ended(1006, error.message));
  }
}

/** 2.2, by `fetch`, because an `EventSource` cannot set headers. */
class SseWire extends HttpWire {
  constructor(url, hello, on) {
    super('sse', url, on);
    this.carry(this.#receive(hello, on));
  }

  async #receive(hello, on) {
    const headers = { Accept: 'text/event-stream', 'Switchback-Session': hello };
    const response = await this.request('GET', {}, { headers });
    if (!response.headers.get('Content-Type')?.startsWith('text/event-stream')) {
      throw new Ended(1006, 'not an event stream');
    }
    const decoder = utf8();
    const parser = new EventStreamParser();
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new Ended(1006, 'the stream was cut');
      on.heard();
      for (const event of parser.push(decoder.decode(value, { stream: true }))) {
        this.#take(event, on);
      }
    }
  }

  #take({ type, data }, on) {
    switch (type) {
      case 'message':
        on.message(data);
        break;
      case 'text':
        on.message(utf8().decode(decodeBase64(data)));
        break;
      case 'binary':
        on.message(decodeBase64(data));
        break;
      case 'switchback': {
        const { connection, close } = parseObject(data);
        if (close) throw new Ended(close.code, close.reason || `closed with ${close.code}`);
        this.connection ??= connection;
        this.post();
        break;
      }
      default: // Not of this version.
    }
  }
}

/** 2.3 */
class LongPollWire extends HttpWire {
  constructor(url, hello, on) {
    super('longpoll', url, on);
    this.carry(this.#receive(hello, on));
  }

  async #receive(hello, on) {
    const opening = await this.request('GET', {}, { headers: { 'Switchback-Session': hello } });
    this.connection = opening.headers.get('Switchback-Connection');
    if (this.connection === null) throw new Ended(1006, 'not a long-poll');
    this.post();
    let cursor = this.#take(await opening.arrayBuffer(), on);
    for (;;) {
      // A response that is lost is asked for again with the same cursor.
      const batch = await this.persist(async () => {
        const response = await this.request('GET', { cursor });
        on.heard();
        return response.arrayBuffer();
      });
      cursor += this.#take(batch, on);
    }
  }

  /** Delivers a batch and returns how many messages were in it. */
  #take(buffer, on) {
    const messages = decodeBatch(new Uint8Array(buffer));
    for (const message of messages) on.message(message);
    return messages.length;
  }
}

export const WIRES = { websocket: WebSocketWire, sse: SseWire, longpoll: LongPollWire };

// --- Encodings ----------------------------------------------------------------------------------

/** A parser of event streams (WHATWG HTML, 9.2.6), fed with decoded text in any pieces. */
class EventStreamParser {
  #begun = false;
  #rest = '';
  #type = '';
  #data = [];

  /** Returns the events that are complete now. */
  push(text) {
    if (!this.#begun && text !== '') {
      this.#begun = true;
      text = text.replace(/^\uFEFF/, ''); // Of the stream, not of a message.
    }
    const events = [];
    // A carriage return at the end waits: a line feed that follows belongs to it.
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line === '') {
        if (this.#data.length > 0) {
          events.push({ type: this.#type || 'message', data: this.#data.join('\n') });
        }
        this.#type = '';
        this.#data = [];
        continue;
      }
      const [, field, value] = /^([^:]*)(?:: ?([^]*))?$/.exec(line);
      if (field === 'data') this.#data.push(value ?? '');
      if (field === 'event') this.#type = value ?? '';
    }
    return events;
  }
}

/** 2.6 */
function encodeRecord(message) {
  const text = typeof message === 'string';
  const payload = text ? encoder.encode(message) : message;
  return concat([encoder.encode(`${text ? 't' : 'b'}${payload.length}:`), payload]);
}

function decodeBatch(bytes) {
  const messages = [];
  for (let at = 0; at < bytes.length; ) {
    const head = String.fromCharCode(...bytes.subarray(at, at + 12));
    const [all, type, digits] = /^([tb])(0|[1-9][0-9]{0,9}):/.exec(head) ?? [];
    const start = at + (all?.length ?? 0);
    const end = start + Number(digits);
    if (!(end <= bytes.length)) throw new Ended(1002, 'a broken batch');
    const payload = bytes.slice(start, end);
    messages.push(type === 't' ? utf8().decode(payload) : payload);
    at = end;
  }
  return messages;
}

export function parseObject(json) {
  try {
    const value = JSON.parse(json);
    if (typeof value === 'object' && value !== null) return value;
  } catch {
    // Falls through: the same error as for another type.
  }
  throw new Ended(1002, 'a control frame without its object');
}

function concat(parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function decodeBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function sleep(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
