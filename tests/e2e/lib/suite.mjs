// A suite of cases. Each prints one line: `ok NAME`, `FAILED NAME: why` or `SKIPPED: NAME — why`.

import { setTimeout as sleep } from 'node:timers/promises';

const CASE_TIMEOUT = 60_000;
const only = process.env.E2E_ONLY ? new RegExp(process.env.E2E_ONLY) : /(?:)/;

/** Runs a case. It may register what is to be undone with `defer`. A failure does not stop the suite. */
export async function test(name, body, timeout = CASE_TIMEOUT) {
  if (!only.test(name)) return;
  const begin = Date.now();
  const undo = [];
  let line;
  try {
    await within(timeout, 'the case', body({ defer: (action) => undo.push(action) }));
    line = `ok      ${name}`;
  } catch (error) {
    process.exitCode = 1;
    line = `FAILED  ${name}: ${error.stack ?? error}`;
  }
  for (const action of undo.reverse()) {
    try {
      await within(10_000, 'cleaning up', action());
    } catch (error) {
      console.log(`        ${name}: while cleaning up: ${error.message}`);
    }
  }
  console.log(`${line} (${Date.now() - begin} ms)`);
}

export function skip(name, why) {
  if (only.test(name)) console.log(`SKIPPED: ${name} — ${why}`);
}

/** Waits for a promise, but not forever. */
export async function within(ms, what, promise) {
  const stop = new AbortController();
  const late = sleep(ms, undefined, { signal: stop.signal }).then(() => {
    throw new Error(`${what} took more than ${ms} ms`);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    stop.abort();
    late.catch(() => {});
  }
}

/** Turns callbacks into something to wait for: what was put in comes out in order. */
export class Queue {
  #items = [];
  #waiting = [];

  put(item) {
    const waiting = this.#waiting.shift();
    if (waiting) {
      waiting(item);
    } else {
      this.#items.push(item);
    }
  }

  next(what = 'the next event', ms = 20_000) {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    let take;
    const item = new Promise((resolve) => {
      take = resolve;
      this.#waiting.push(resolve);
    });
    return within(ms, what, item).finally(() => {
      this.#waiting = this.#waiting.filter((waiting) => waiting !== take);
    });
  }
}
