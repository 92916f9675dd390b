// Headless Chromium.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

const PROGRAM = ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find(existsSync);
const SCREENSHOTS = process.env.E2E_SCREENSHOTS ?? 'target/e2e';
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export const missing = PROGRAM === undefined;

/** One browser for a whole suite. */
export class Browser {
  #chromium;

  static async launch() {
    const browser = new Browser();
    browser.#chromium = await chromium.launch({ executablePath: PROGRAM, args: FLAGS });
    return browser;
  }

  /**
   * A tab with a profile of its own, so that tabs share no limit on connections. `errors` collects the
   * exceptions that nothing has caught.
   */
  async tab(defer, url, options = {}) {
    const context = await this.#chromium.newContext({
      viewport: { width: 1100, height: 760 },
      ...options,
    });
    defer(() => context.close());
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    page.errors = [];
    page.on('pageerror', (error) => page.errors.push(error.stack));
    await page.goto(url);
    return page;
  }

  close() {
    return this.#chromium.close();
  }
}

export async function screenshot(page, name) {
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), animations: 'disabled' });
}

/**
 * Exchanges numbered messages with an echo by the client of the chat page, in a tab that is on the
 * same origin. `moves` are the transports to force while messages flow; `cuts` is how often to fall
 * silent until the transport is lost, and to send as many again right after that.
 */
export async function exchange(page, { transport = 'auto', messages, moves = [], cuts = 0 }) {
  const result = await page.evaluate(flow, { transport, messages, moves, cuts });
  assert.deepEqual(page.errors, []);
  return result;
}

/** That nothing was lost or doubled, or came out of order. */
export function assertWhole(result, messages) {
  const { error, wrong, sent, received, anew } = result;
  const expected = { error: null, wrong: [], sent: messages, received: messages, anew: 0 };
  assert.deepEqual({ error, wrong, sent, received, anew }, expected, JSON.stringify(result));
}

// Runs in the page.
async function flow({ transport, messages, moves, cuts }) {
  const { Switchback } = await import('/switchback.js');
  const connection = new Switchback('/rt', { transport });
  const result = {
    sent: 0, received: 0, wrong: [], transports: [], cut: 0, resumed: 0, anew: 0, moved: [], error: null,
  };
  let closing = false;
  const changed = new EventTarget();
  const change = () => changed.dispatchEvent(new Event('change'));
  const until = (what, condition) => new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what} took too long`)), 30_000);
    const check = () => {
      if (!condition()) return;
      clearTimeout(timer);
      changed.removeEventListener('change', check);
      resolve();
    };
    changed.addEventListener('change', check);
    check();
  });

  const make = (number) => {
    const text = `${number}:${'\r\n data: ü\0 '.repeat(number % 7)}`;
    return number % 2 === 0 ? text : new TextEncoder().encode(text);
  };
  const show = (data) => (typeof data === 'string' ? `t${data}` : `b${[...data]}`);
  connection.addEventListener('message', ({ data }) => {
    if (show(data) === show(make(result.received))) result.received += 1;
    else result.wrong.push(`${show(data).slice(0, 40)} for ${result.received}`);
    change();
  });
  connection.addEventListener('state', () => {
    const { name, transport: kind, tries } = connection.state;
    if (name === 'open') result.transports.push(kind);
    if (name === 'reconnecting' && tries.length === 0) result.cut += 1;
    change();
  });
  connection.addEventListener('resumed', () => { result.resumed += 1; });
  connection.addEventListener('anew', () => { if (!closing) result.anew += 1; });
  connection.addEventListener('moved', ({ detail }) => { result.moved.push(detail.to); change(); });
  connection.addEventListener('close', change);

  const send = async (count) => {
    const last = result.sent + count;
    while (result.sent < last) {
      // Below the limit of the client, with room for what it keeps until it is acknowledged.
      await until('room to send', () => connection.unacknowledged < 400);
      connection.send(make(result.sent));
      result.sent += 1;
      // The echoes get a turn.
      if (result.sent % 10 === 0) await new Promise((resolve) => { setTimeout(resolve); });
    }
  };
  const receive = () => until('receiving', () => result.received === result.sent || result.wrong.length > 0);

  try {
    await until('opening', () => connection.state.name === 'open');
    if (moves.length === 0) await send(messages);
    for (const to of moves) {
      // What the server answers on a transport says that it knows of the move there.
      await send(1);
      await receive();
      const before = result.moved.length;
      const sending = send(messages / moves.length - 1);
      connection.transport = to;
      await until(`moving to ${to}`, () => result.moved.length > before);
      await sending;
    }
    await receive();
    for (let cut = 1; cut <= cuts; cut += 1) {
      await until('the cut', () => result.cut >= cut);
      await send(messages);
      await receive();
    }
    // A cut may hide from us that the server has closed: then the end looks like a lost session.
    closing = true;
    connection.close();
    await until('closing', () => connection.state.name === 'closed');
  } catch (error) {
    result.error = `${error.stack}; ${JSON.stringify(connection.state)}`;
  }
  return result;
}
