// A browser client of the Switchback protocol, version 1 (docs/protocol.md), without dependencies.
// Numbers in parentheses are sections of that page.
//
//     const connection = new Switchback('/rt');
//     connection.addEventListener('message', (event) => console.log(event.data));
//     connection.send('hello');
//
// This file is the session, which survives its transports. The transports are in wires.js and know
// nothing of sessions.

import { Ended, WIRES, parseObject } from './wires.js';

/** The transports, best first. */
export const TRANSPORTS = ['websocket', 'sse', 'longpoll'];

const HEAD_START = 300; // ms before the next transport joins a race
const TRY_TIMEOUT = 10_000; // ms until an attachment must have opened
const CANARY = 2_000; // ms until an event stream must have opened: else something buffers it
const BACKOFF = { first: 500, longest: 20_000 }; // ms, full jitter
const STABLE = 5_000; // ms: an attachment that dies younger than this did not work
const DEMOTED = 300_000; // ms that a transport goes to the end of the line after two such deaths
const PROBE = { first: 60_000, longest: 600_000 }; // ms between tries of a better transport
const CLOSE_TIMEOUT = 5_000; // ms that the peer has to answer a close
const OUTBOX = { messages: 4096, bytes: 512 * 1024 }; // sent or waiting, not yet acknowledged

/** Close codes that invite to come back (RFC 6455, 7.4.1). */
const COME_BACK = [1001, 1012, 1013];

const encoder = new TextEncoder();

/**
 * A session with a Switchback server: an ordered, exactly-once stream of messages in each direction
 * that goes on when its transport is lost or exchanged.
 *
 * Events, most with a `detail`:
 * - `message`: `data` is a string or a `Uint8Array`.
 * - `state`: `connection.state` has changed.
 * - `resumed` `{transport}`: back after a drop, nothing lost.
 * - `moved` `{from, to}`: handed over to another transport, nothing lost.
 * - `stayed` `{transport, why}`: the hand-over failed, so the old transport stays.
 * - `anew` `{why, unacknowledged}`: the session was lost and another has begun. The messages in
 *   `unacknowledged` may or may not have arrived.
 * - `close` `{code, reason}`: the session has ended for good.
 */
export class Switchback extends EventTarget {
  #url;
  #transport;
  #state = { name: 'connecting', since: Date.now() };

  // The identity of the session (3.2, 3.3).
  #session = randomId();
  #token = null;
  #attachments = 0;

  // The numbers of the last messages, and our messages that are not acknowledged (3.4).
  #received = 0;
  #sent = 0;
  #outbox = [];
  #outboxBytes = 0;
  #owed = { messages: 0, bytes: 0, timer: null };

  #link = null; // the attachment that we selected
  #race = null; // the attachments that we are trying
  #retry = null;
  #failures = 0;
  #deaths = {}; // per transport: when it died young
  #probe = { timer: null, delay: PROBE.first };
  #closing = null;
  #watch = null;
  #leaving = new AbortController();

  /**
   * Begins a session at once.
   *
   * @param {string | URL} url the endpoint; relative to the page
   * @param {{transport?: string}} options `transport`: `auto` or one of `TRANSPORTS`
   */
  constructor(url, { transport = 'auto' } = {}) {
    super();
    this.#url = new URL(url, location.href);
    this.#url.protocol = this.#url.protocol.replace('ws', 'http');
    this.#transport = transport;

    const { signal } = this.#leaving;
    addEventListener('online', () => this.#wake(), { signal });
    addEventListener('pagehide', () => this.#leave(), { signal });
    document.addEventListener('visibilitychange', () => document.hidden || this.#wake(), { signal });
    // Browsers throttle timers: this one only asks the wall clock (3.8).
    this.#watch = setInterval(() => this.#checkHeartbeat(), 1000);
    this.#startRace(this.#candidates());
  }

  /** `{name, since, transport?, tries?}`: `connecting`, `open`, `reconnecting` or `closed`. */
  get state() {
    return this.#state;
  }

  /** Which transport is wanted: `auto` or one of `TRANSPORTS`. Setting it moves the session over. */
  get transport() {
    return this.#transport;
  }

  set transport(transport) {
    this.#transport = transport;
    this.#cancelRace();
    clearTimeout(this.#probe.timer);
    if (this.#state.name === 'closed') return;
    if (this.#link === null) {
      this.#startRace(this.#candidates());
    } else {
      this.#moveUp();
    }
  }

  /** How many messages the server has not acknowledged yet. */
  get unacknowledged() {
    return this.#outbox.length;
  }

  /**
   * Sends a string, an `ArrayBuffer` or a view of one. Waits for nothing: while there is no
   * transport, and until it is acknowledged, the message is kept here.
   *
   * @throws {DOMException} `InvalidStateError` after a close, `QuotaExceededError` when too much is
   *   waiting
   */
  send(data) {
    if (this.#closing || this.#state.name === 'closed') {
      throw new DOMException('the session is closed', 'InvalidStateError');
    }
    const text = typeof data === 'string';
    const bytes = text ? encoder.encode(data).length : data.byteLength;
    if (this.#outbox.length >= OUTBOX.messages || this.#outboxBytes + bytes > OUTBOX.bytes) {
      throw new DOMException('too much is waiting to be sent', 'QuotaExceededError');
    }
    // A copy, because the caller may go on writing into its buffer.
    const message = text ? data : copyBytes(data);
    this.#sent += 1;
    this.#outbox.push({ number: this.#sent, message, bytes });
    this.#outboxBytes += bytes;
    if (this.#acknowledgesAlong()) this.#sendAck();
    this.#link?.wire.send(escape(message));
  }

  /** Ends the session once everything sent before has arrived (3.7). */
  close(code = 1000, reason = '') {
    if (this.#closing || this.#state.name === 'closed') return;
    this.#closing = { code, reason };
    setTimeout(() => this.#finish(code, reason), CLOSE_TIMEOUT);
    this.#sendClose();
  }

  // --- Choosing a transport ---------------------------------------------------------------------

  /** The transports to try, in order: those that lately died young come last. */
  #candidates() {
    if (this.#transport !== 'auto') return [this.#transport];
    const demoted = (kind) => {
      const [last, before] = this.#deaths[kind] ?? [];
      return before !== undefined && Date.now() - last < DEMOTED;
    };
    return [...TRANSPORTS].sort((a, b) => demoted(a) - demoted(b));
  }

  /**
   * Tries transports side by side, each with a head start before the next. The first that carries
   * `opened` wins. With a live attachment this is a hand-over, and that one carries on meanwhile.
   */
  #startRace(kinds) {
    this.#cancelRace();
    clearTimeout(this.#retry);
    this.#retry = null;
    // 3.5: a hand-over fences below the attachment in use, a race below its own first.
    const fence = this.#link?.number ?? this.#attachments + 1;
    this.#race = { links: new Set(), waiting: [...kinds], fence, tries: [], timer: null };
    this.#startNext();
  }

  #startNext() {
    const race = this.#race;
    clearTimeout(race.timer);
    const kind = race.waiting.shift();
    if (kind === undefined) {
      if (race.links.size === 0) this.#loseRace(race);
      return;
    }
    race.links.add(this.#attach(kind, race.fence));
    if (race.waiting.length > 0) race.timer = setTimeout(() => this.#startNext(), HEAD_START);
  }

  #loseRace(race) {
    this.#race = null;
    if (this.#link) {
      const why = race.tries.map((end) => `${end.kind}: ${end.message}`).join('; ');
      this.#emit('stayed', { transport: this.#link.kind, why });
      this.#scheduleProbe();
    } else {
      this.#setState({ ...this.#state, tries: race.tries });
      this.#reconnectLater(Math.max(0, ...race.tries.map((end) => end.retryAfter ?? 0)));
    }
  }

  #cancelRace() {
    const race = this.#race;
    this.#race = null;
    if (race === null) return;
    clearTimeout(race.timer);
    for (const link of race.links) this.#drop(link);
  }

  /** The one gate of all reconnects: exponential backoff with full jitter. */
  #reconnectLater(atLeast = 0) {
    const ceiling = Math.min(BACKOFF.longest, BACKOFF.first * 2 ** this.#failures);
    this.#failures += 1;
    const delay = atLeast + Math.random() * ceiling;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#startRace(this.#candidates()), delay);
  }

  /** The network is back, or somebody looks at the page: do not let them wait for a timer. */
  #wake() {
    this.#checkHeartbeat();
    if (this.#retry !== null) this.#startRace(this.#candidates());
  }

  /** Hands over to a better transport than the one in use, or to the one that is wanted. */
  #moveUp() {
    const kinds = this.#candidates();
    const here = kinds.indexOf(this.#link.kind);
    const better = here < 0 ? kinds : kinds.slice(0, here);
    if (better.length > 0) {
      this.#startRace(better);
    } else {
      this.#scheduleProbe();
    }
  }

  #scheduleProbe() {
    clearTimeout(this.#probe.timer);
    if (this.#transport !== 'auto' || this.#link?.kind === TRANSPORTS[0]) {
      this.#probe.delay = PROBE.first;
      return;
    }
    this.#probe.timer = setTimeout(() => {
      this.#probe.delay = Math.min(PROBE.longest, this.#probe.delay * 2);
      if (this.#link && !this.#race) this.#moveUp();
    }, this.#probe.delay);
  }

  // --- Attachments ------------------------------------------------------------------------------

  #attach(kind, fence) {
    const number = ++this.#attachments;
    const resume = this.#token !== null;
    const hello = resume
      ? `1.resume.${this.#session}.${this.#token}.${number}.${fence}.${this.#received}`
      : `1.new.${this.#session}.${number}.${fence}`;
    // `next` is the number of the next message that comes in on this attachment (3.4).
    const link = { kind, number, resume, opened: null, next: 0, over: false, openedAt: 0 };
    link.heardAt = Date.now();
    link.timer = setTimeout(
      () => this.#fail(link, new Ended(4002, 'no answer in time')),
      kind === 'sse' ? CANARY : TRY_TIMEOUT,
    );
    link.wire = new WIRES[kind](this.#url, hello, {
      heard: () => {
        link.heardAt = Date.now();
      },
      message: (data) => {
        if (link.over) return;
        link.heardAt = Date.now();
        try {
          this.#receive(link, data);
        } catch (error) {
          this.#fail(link, error);
        }
      },
      end: (why) => this.#fail(link, why),
    });
    return link;
  }

  #drop(link) {
    link.over = true;
    clearTimeout(link.timer);
    link.wire.abort();
  }

  /** An attachment has ended, or has to. */
  #fail(link, why) {
    if (link.over) return;
    this.#drop(link);
    if (this.#race?.links.delete(link)) {
      if (why.code === 4001 && this.#link === null) {
        // The server does not want to hear of this session again.
        this.#cancelRace();
        if (this.#closing) {
          this.#finish(this.#closing.code, this.#closing.reason);
          return;
        }
        this.#renew('unknown');
        this.#reconnectLater();
        return;
      }
      this.#race.tries.push({ kind: link.kind, message: why.message, retryAfter: why.retryAfter });
      this.#startNext();
    } else if (this.#link === link) {
      this.#link = null;
      this.#clearOwed();
      clearTimeout(this.#probe.timer);
      const now = Date.now();
      if (now - link.openedAt >= STABLE) {
        this.#deaths[link.kind] = undefined;
        this.#failures = 0;
      } else if (why.code === 1006) {
        this.#deaths[link.kind] = [now, this.#deaths[link.kind]?.[0]];
      }
      if (why.code === 4002 && now - link.openedAt < link.opened.timeout) {
        // 3.8: what we send there does not arrive.
        this.#deaths[link.kind] = [now, now];
      }
      this.#setState({ name: 'reconnecting', since: now, tries: [] });
      if (this.#race === null) this.#reconnectLater(); // else a hand-over is under way already
    }
  }

  #checkHeartbeat() {
    const link = this.#link;
    if (link && Date.now() - link.heardAt > link.opened.timeout) {
      this.#fail(link, new Ended(4002, 'the server fell silent'));
    }
  }

  // --- Frames -----------------------------------------------------------------------------------

  #receive(link, data) {
    let message = data;
    if (typeof data === 'string' && data.startsWith('\u0001')) {
      if (/^\u0001[a-z]/.test(data)) {
        const space = data.indexOf(' ');
        const word = data.slice(1, space < 0 ? undefined : space);
        this.#control(link, word, space < 0 ? '' : data.slice(space + 1));
        return;
      }
      if (data[1] !== '\u0001') throw new Ended(1002, 'neither control frame nor escape');
      message = data.slice(1);
    }
    if (link.opened === null) throw new Ended(1002, 'a message before opened');

    const number = link.next++;
    if (number > this.#received + 1) throw new Ended(1002, `message ${number} is ahead of its turn`);
    const replayed = number <= this.#received;
    if (!replayed) this.#received = number;
    // What is replayed counts as well: its acknowledgement was lost.
    this.#oweAck(typeof data === 'string' ? encoder.encode(data).length : data.length);
    if (!replayed) this.dispatchEvent(new MessageEvent('message', { data: message }));
  }

  #control(link, word, argument) {
    switch (word) {
      case 'opened':
        this.#opened(link, parseObject(argument));
        break;
      case 'ack':
        this.#acknowledged(parseNumber(argument));
        break;
      case 'seq':
        link.next = parseNumber(argument);
        break;
      case 'ping':
        link.wire.send('\u0001pong');
        break;
      case 'close':
        this.#closedByServer(link, parseObject(argument));
        break;
      default: // Unknown words are ignored (3.1).
    }
  }

  /** Decides for an attachment: it has won its race, because this is the first `opened` (3.5). */
  #opened(link, opened) {
    if (link.opened || !this.#race?.links.delete(link)) return;
    clearTimeout(link.timer);
    link.opened = opened;
    link.openedAt = Date.now();
    link.next = opened.next;

    const before = this.#link;
    const dropped = this.#state.name === 'reconnecting';
    const anew = link.resume && !opened.resumed;
    if (anew && before) {
      // The session lives on the old attachment: this server is not the one that has it.
      this.#race.links.add(link);
      this.#fail(link, new Ended(4001, 'the session is not known there'));
      return;
    }
    if (anew && this.#closing) {
      // The session that was to be closed has ended; the new one is not wanted (3.7).
      link.over = true;
      link.wire.close(1000);
      this.#finish(this.#closing.code, this.#closing.reason);
      return;
    }
    if (anew) {
      // 3.3: what the server had received of the old session is not given back.
      if (opened.ended && opened.ended.received <= this.#sent) {
        this.#acknowledged(opened.ended.received);
      }
      this.#renew(opened.why ?? 'unknown');
    }
    this.#session = opened.session;
    this.#token = opened.token;
    this.#acknowledged(opened.received);

    // 3.5: a select that ends no other attachment may wait for our first message.
    const alone = !before && this.#race.links.size === 0 && link.number === this.#attachments;
    this.#cancelRace();
    this.#link = link;
    // The select acknowledges too. Our messages count from `received + 1` here, unless told
    // otherwise: what was acknowledged on the old attachment meanwhile is not here any more.
    link.wire[alone ? 'sendWithNext' : 'send'](`\u0001select ${this.#received}`);
    this.#clearOwed();
    const from = this.#sent - this.#outbox.length + 1;
    if (from !== opened.received + 1) link.wire.send(`\u0001seq ${from}`);
    for (const { message } of this.#outbox) link.wire.send(escape(message));
    this.#sendClose();

    // The server ends the old attachment. What is still on its way there is welcome; it would
    // come again here.
    if (before) setTimeout(() => this.#drop(before), 2000);

    this.#setState({ name: 'open', since: link.openedAt, transport: link.kind });
    this.#scheduleProbe();
    if (!anew && before) {
      this.#emit('moved', { from: before.kind, to: link.kind });
    } else if (!anew && link.resume && dropped) {
      this.#emit('resumed', { transport: link.kind });
    }
  }

  #acknowledged(number) {
    if (number > this.#sent) throw new Ended(1002, 'an acknowledgement of what was not sent');
    while (this.#outbox.length > 0 && this.#outbox[0].number <= number) {
      this.#outboxBytes -= this.#outbox.shift().bytes;
    }
  }

  #oweAck(bytes) {
    const owed = this.#owed;
    const { ack_messages, ack_bytes, ack_delay } = (this.#link ?? {}).opened ?? {};
    owed.messages += 1;
    owed.bytes += bytes;
    if (owed.messages >= ack_messages || owed.bytes >= ack_bytes) {
      this.#sendAck();
    } else {
      owed.timer ??= setTimeout(() => this.#sendAck(), ack_delay);
    }
  }

  /** Whether an acknowledgement should go along with a message, before it is due: the server keeps less. */
  #acknowledgesAlong() {
    const { messages, bytes } = this.#owed;
    const { ack_messages, ack_bytes } = this.#link?.opened ?? {};
    return messages > 0 && (messages * 128 >= ack_messages || bytes * 128 >= ack_bytes);
  }

  #sendAck() {
    this.#clearOwed();
    this.#link?.wire.send(`\u0001ack ${this.#received}`);
  }

  #clearOwed() {
    clearTimeout(this.#owed.timer);
    this.#owed = { messages: 0, bytes: 0, timer: null };
  }

  /** The old session is lost: forgets it and tells what may be lost with it. */
  #renew(why) {
    const unacknowledged = this.#outbox.map(({ message }) => message);
    this.#received = 0;
    this.#sent = 0;
    this.#outbox = [];
    this.#outboxBytes = 0;
    this.#clearOwed();
    this.#session = randomId();
    this.#token = null;
    // Later, so that what the listeners send finds the new session in place.
    queueMicrotask(() => this.#emit('anew', { why, unacknowledged }));
  }

  // --- Closing ----------------------------------------------------------------------------------

  /** The last frames: what was received, so that the server need not wait for it, and the close. */
  #lastFrames({ code, reason }) {
    this.#clearOwed();
    const close = JSON.stringify({ code, reason, sent: this.#sent });
    return [`\u0001ack ${this.#received}`, `\u0001close ${close}`];
  }

  #sendClose(link = this.#link, closing = this.#closing) {
    if (link === null || closing === null) return;
    for (const frame of this.#lastFrames(closing)) link.wire.send(frame);
  }

  #closedByServer(link, { code, reason = '', reconnect }) {
    if (this.#closing) {
      this.#finish(this.#closing.code, this.#closing.reason);
      return;
    }
    this.#sendClose(this.#link ?? link, { code, reason });
    if (reconnect === undefined && !COME_BACK.includes(code)) {
      this.#finish(code, reason);
    } else {
      // The session has ended, and the server wants us back in another one.
      this.#cancelRace();
      this.#hangUp();
      this.#setState({ name: 'reconnecting', since: Date.now(), tries: [] });
      this.#renew(reason || 'the server restarts');
      this.#reconnectLater(reconnect);
    }
  }

  #finish(code, reason) {
    if (this.#state.name === 'closed') return;
    this.#cancelRace();
    clearTimeout(this.#retry);
    clearTimeout(this.#probe.timer);
    clearInterval(this.#watch);
    this.#clearOwed();
    this.#leaving.abort();
    this.#hangUp();
    this.#setState({ name: 'closed', since: Date.now(), code, reason });
    this.#emit('close', { code, reason });
  }

  #hangUp() {
    if (this.#link === null) return;
    this.#link.over = true;
    this.#link.wire.close(1000);
    this.#link = null;
  }

  /** The page goes away: ends the session in what little time is left. 1001: nobody waits here (3.7). */
  #leave() {
    const going = { code: 1001, reason: 'the page was left' };
    this.#link?.wire.leave(this.#lastFrames(going));
    this.#link = null;
    this.#finish(going.code, going.reason);
  }

  #setState(state) {
    this.#state = state;
    this.dispatchEvent(new Event('state'));
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** 3.1: an application text that looks like a control frame gets one more U+0001. */
function escape(message) {
  return typeof message === 'string' && message.startsWith('\u0001') ? `\u0001${message}` : message;
}

function parseNumber(text) {
  if (!/^(0|[1-9][0-9]{0,15})$/.test(text)) throw new Ended(1002, 'a control frame without its number');
  return Number(text);
}

function copyBytes(data) {
  return ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice()
    : new Uint8Array(data).slice();
}

/** 3.2: 16 random bytes in base64url. */
function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const base64 = btoa(String.fromCharCode(...bytes));
  return base64.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
