// A real browser: the plain clients that it has built in, the client of the chat page, and the pages.

import assert from 'node:assert/strict';
import { once } from 'node:events';

import { WebSocketServer } from 'ws';

import { Browser, assertWhole, exchange, missing, screenshot } from './lib/browser.mjs';
import { BYTES, MEBIBYTE, TEXTS, noise } from './lib/payloads.mjs';
import { example, serve, start } from './lib/process.mjs';
import { Proxy } from './lib/proxy.mjs';
import { Queue, skip, test } from './lib/suite.mjs';

if (missing) {
  skip('everything in a browser', 'missing chromium');
  process.exit(0);
}

const browser = await Browser.launch();
const echo = await serve('echo');
const chat = await serve('chat');
// The files of the chat page, with the echo in place of the chat's endpoint.
const rig = await Proxy.start({ '/': chat.host, '/rt': echo.host });
const RIG = `http://${rig.host}/style.css`;
const TRANSPORTS = ['websocket', 'sse', 'longpoll'];
const LABELS = { websocket: 'WebSocket', sse: 'SSE', longpoll: 'Long-poll' };

// --- What browsers have built in ----------------------------------------------------------------

for (const path of ['/ws', '/rt']) {
  await test(`Chromium: new WebSocket() on ${path}, bit for bit`, async ({ defer }) => {
    const page = await browser.tab(defer, `http://${echo.host}/`);
    const wrong = await page.evaluate(plainWebSocket, {
      path,
      texts: [...TEXTS, 'ü'.repeat(MEBIBYTE / 2)],
      bytes: [...BYTES, noise(MEBIBYTE)].map(base64),
    });
    assert.deepEqual(wrong, []);
  });
}

await test('Chromium: new EventSource() on /rt, bit for bit', async ({ defer }) => {
  const page = await browser.tab(defer, `http://${echo.host}/`);
  const wrong = await page.evaluate(plainEventSource, {
    texts: TEXTS,
    bytes: [...BYTES, noise(100_000)].map(base64),
  });
  assert.deepEqual(wrong, []);
});

await test('Chromium: EventSource comes back with Last-Event-ID after a cut', async ({ defer }) => {
  const dashboard = await serve('dashboard');
  defer(() => dashboard.stop());
  const proxy = await Proxy.start({ '/': dashboard.host });
  defer(() => proxy.stop());
  const page = await browser.tab(defer, `http://${proxy.host}/nothing`);
  const next = (after) => page.evaluate(
    (id) => new Promise((resolve) => {
      window.source ??= new EventSource('/events');
      window.source.addEventListener('sample', ({ lastEventId }) => {
        if (Number(lastEventId) > id) resolve(Number(lastEventId));
      });
    }),
    after,
  );
  const seen = await next(0);
  proxy.cut();
  await next(seen);
  const requests = proxy.requests.filter(({ url }) => url === '/events');
  assert.equal(requests.length, 2);
  assert.ok(Number(requests[1].headers['last-event-id']) >= seen);
});

// --- The client of the page ---------------------------------------------------------------------

for (const transport of TRANSPORTS) {
  await test(`page client on ${transport}: messages bit for bit and in order`, async ({ defer }) => {
    const page = await browser.tab(defer, RIG);
    const wrong = await page.evaluate(sessionEcho, {
      transport,
      texts: [...TEXTS, 'ü'.repeat(50_000)],
      bytes: [...BYTES, noise(100_000)].map(base64),
    });
    assert.deepEqual(wrong, []);
    const result = await exchange(page, { transport, messages: 1000 });
    assertWhole(result, 1000);
    assert.deepEqual(result.transports, [transport]);
  });
}

await test('page client: forced from transport to transport under a flow of messages', async ({ defer }) => {
  const page = await browser.tab(defer, RIG);
  const moves = ['longpoll', 'websocket', 'sse', 'longpoll', 'sse', 'websocket', 'longpoll', 'websocket'];
  const result = await exchange(page, { transport: 'sse', messages: 2400, moves });
  assertWhole(result, 2400);
  assert.deepEqual(result.moved, moves);
  assert.deepEqual([result.cut, result.resumed], [0, 0]);
});

await test('page client: WebSockets that are refused', async ({ defer }) => {
  const proxy = await Proxy.start({ '/': chat.host, '/rt': echo.host });
  defer(() => proxy.stop());
  proxy.websockets = 'refuse';
  const page = await browser.tab(defer, `http://${proxy.host}/style.css`);
  const result = await exchange(page, { messages: 200 });
  assertWhole(result, 200);
  assert.deepEqual(result.transports, ['sse']);
});

await test('page client: a proxy that cuts every WebSocket after 300 ms', async ({ defer }) => {
  const proxy = await Proxy.start({ '/': chat.host, '/rt': echo.host });
  defer(() => proxy.stop());
  const page = await browser.tab(defer, `http://${proxy.host}/style.css`);
  proxy.websockets = 300;
  proxy.head = 2;
  const result = await exchange(page, { messages: 500, cuts: 2 });
  assertWhole(result, 1500);
  // After the second early death it tries something else first.
  assert.deepEqual(result.transports, ['websocket', 'websocket', 'sse']);
  assert.deepEqual([result.cut, result.resumed], [2, 2]);
});

for (const transport of TRANSPORTS) {
  await test(`page client on ${transport}: cuts of everything while messages flow`, async ({ defer }) => {
    const proxy = await Proxy.start({ '/': chat.host, '/rt': echo.host });
    defer(() => proxy.stop());
    const page = await browser.tab(defer, `http://${proxy.host}/style.css`);
    // Not more, because the delay before the client comes back doubles each time.
    let cuts = 0;
    const cutting = setInterval(() => {
      if (cuts < 5 && proxy.cut() > 0) cuts += 1;
    }, 300);
    defer(() => clearInterval(cutting));
    const result = await exchange(page, { transport, messages: 3000 });
    assertWhole(result, 3000);
    assert.ok(cuts >= 2, `only ${cuts} cuts: it was too fast`);
  });
}

for (const transport of ['sse', 'longpoll']) {
  await test(`page client on ${transport}: the first message shares its POST with the select`, async ({ defer }) => {
    const proxy = await Proxy.start({ '/': chat.host, '/rt': echo.host });
    defer(() => proxy.stop());
    const page = await browser.tab(defer, `http://${proxy.host}/style.css`);
    const posts = () => proxy.requests.filter(({ method }) => method === 'POST');
    await page.evaluate(speakOnceOpen, { transport, message: 'hello' });
    assert.deepEqual(posts().map(({ url }) => new URL(url, 'http://x').searchParams.get('first')), ['1']);
    // Without a message it goes alone.
    await page.evaluate(speakOnceOpen, { transport });
    const deadline = Date.now() + 10_000;
    while (posts().length < 2 && Date.now() < deadline) await page.waitForTimeout(10);
    assert.equal(posts().length, 2);
  });
}

// What comes, what the client is to acknowledge of it at once, and after how many messages or bytes it has to (3.4).
for (const [what, comes, acknowledged, due] of [
  ['replayed messages', ['a', 'b', '\u0001seq 1', 'a', 'b'], 2, { ack_messages: 4, ack_bytes: 1000 }],
  ['the escape', ['\u0001\u0001a', '\u0001\u0001b', '\u0001\u0001c'], 3, { ack_messages: 1000, ack_bytes: 9 }],
]) {
  await test(`page client: an acknowledgement counts ${what}`, async ({ defer }) => {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols: () => 'switchback' });
    defer(() => server.close());
    await once(server, 'listening');
    const frames = new Queue();
    server.on('connection', (socket, { headers }) => {
      const [session] = headers['sec-websocket-protocol'].match(/(?<=new\.)[\w-]{22}/);
      const opened = {
        session, token: session, resumed: false, received: 0, next: 1,
        heartbeat: 60_000, timeout: 70_000, park: 60_000, ack_delay: 60_000, ...due,
      };
      socket.send(`\u0001opened ${JSON.stringify(opened)}`);
      for (const frame of comes) socket.send(frame);
      socket.on('message', (frame) => frames.put(String(frame)));
    });
    const proxy = await Proxy.start({ '/': chat.host, '/rt': `127.0.0.1:${server.address().port}` });
    defer(() => proxy.stop());
    const page = await browser.tab(defer, `http://${proxy.host}/style.css`);
    await page.evaluate(speakOnceOpen, { transport: 'websocket' });
    assert.equal(await frames.next('select'), '\u0001select 0');
    assert.equal(await frames.next('an acknowledgement'), `\u0001ack ${acknowledged}`);
  });
}

// --- The chat -----------------------------------------------------------------------------------

await test('chat: three tabs on three transports', async ({ defer }) => {
  const server = await serve('chat');
  defer(() => server.stop());
  const [ada, bob, eve] = await tabs(defer, server.host, { Ada: 'websocket', Bob: 'sse', Eve: 'longpoll' });
  for (const page of [ada, bob, eve]) {
    await page.waitForFunction(() => document.querySelectorAll('#people li').length === 3);
    const people = await page.$$eval('#people li', (items) => items.map((item) => [
      item.querySelector('.name').textContent,
      item.querySelector('.badge').textContent,
    ]));
    people.sort();
    assert.deepEqual(people, [['Ada', 'WebSocket'], ['Bob', 'SSE'], ['Eve', 'Long-poll']]);
    assert.equal(await page.textContent('#count'), '3');
  }
  const said = [
    [ada, 'Hello from WebSocket'],
    [bob, 'Hello from an event stream'],
    [eve, 'Hello from long-polling'],
    [ada, '<img src=x onerror="document.title=\'hacked\'"> & \u2028 😀'],
    [eve, 'two\nlines'],
  ];
  for (const [page, text] of said) {
    await say(page, text);
    for (const other of [ada, bob, eve]) await shows(other, text);
  }
  for (const page of [ada, bob, eve]) {
    assert.deepEqual(await messages(page), said.map(([, text]) => text));
    assert.equal(await page.title(), 'Switchback chat');
    assert.deepEqual(page.errors, []);
  }
  await screenshot(ada, 'chat-websocket');
  await screenshot(bob, 'chat-sse');
  await screenshot(eve, 'chat-longpoll');

  await eve.close();
  await ada.waitForFunction(() => document.querySelectorAll('#people li').length === 2);
});

await test('chat: a tab that is closed or left is gone from the room, whatever it is on', async ({ defer }) => {
  const server = await serve('chat');
  defer(() => server.stop());
  const [ada] = await tabs(defer, server.host, { Ada: 'websocket' });
  const inTheRoom = (count) => ada.waitForFunction(
    (wanted) => document.querySelectorAll('#people li').length === wanted,
    count,
  );
  const ends = {
    closed: (page) => page.close(),
    left: (page) => page.goto('about:blank'),
  };
  for (const transport of TRANSPORTS) {
    for (const [how, end] of Object.entries(ends)) {
      // Two, because what the browser says last arrives in whatever order.
      const people = Object.fromEntries([1, 2].map((n) => [`${transport} ${how} ${n}`, transport]));
      const pages = await tabs(defer, server.host, people);
      await inTheRoom(3);
      // There are always messages on their way to them.
      const talking = chatter(ada, 0, 100);
      for (const page of pages) await end(page);
      await inTheRoom(1);
      await talking;
    }
  }
  assert.deepEqual(ada.errors, []);
});

await test('chat: a tab is moved by the switch while the others talk', async ({ defer }) => {
  const server = await serve('chat');
  defer(() => server.stop());
  const [ada, bob] = await tabs(defer, server.host, { Ada: 'websocket', Bob: 'auto' });
  let number = 0;
  for (const transport of ['longpoll', 'sse', 'websocket', 'longpoll']) {
    const talking = Promise.all([chatter(bob, number, 40), chatter(ada, number + 1000, 40)]);
    await ada.check(`#switch input[value=${transport}]`, { force: true });
    await isOpen(ada, transport);
    await talking;
    number += 40;
    await bob.waitForFunction(
      (label) => [...document.querySelectorAll('#people li')].some((item) => (
        item.querySelector('.name').textContent === 'Ada'
        && item.querySelector('.badge').textContent === label
      )),
      LABELS[transport],
    );
  }
  for (const page of [ada, bob]) {
    await page.waitForFunction((count) => document.querySelectorAll('.message:not(.pending)').length === count, 320);
    const texts = await messages(page);
    for (const begin of [0, 1000]) {
      const one = texts.map(Number).filter((text) => text >= begin && text < begin + 1000);
      assert.deepEqual(one, Array.from({ length: 160 }, (_, i) => begin + i));
    }
    assert.deepEqual(page.errors, []);
  }
  assert.deepEqual(await messages(ada), await messages(bob));
  assert.match(await ada.textContent('#events'), /Moved from WebSocket to Long-poll, nothing lost/);
  await screenshot(ada, 'chat-moved');
});

for (const signal of ['SIGKILL', 'SIGINT']) {
  await test(`chat: the page recovers from a restart of the server (${signal})`, async ({ defer }) => {
    let server = await serve('chat');
    defer(() => server.stop());
    const pages = await tabs(defer, server.host, { Ada: 'websocket', Bob: 'sse', Eve: 'longpoll' });
    const [ada, bob, eve] = pages;
    await say(ada, 'before');
    for (const page of pages) await shows(page, 'before');
    await server.stop(signal);
    for (const page of pages) await page.waitForSelector('#state[data-state=reconnecting]');
    await say(bob, 'into the void');
    await screenshot(bob, `chat-reconnecting-${signal}`);
    server = await serve('chat', server.host);
    for (const page of pages) await page.waitForSelector('#state[data-state=open]', { timeout: 40_000 });
    for (const page of pages) await shows(page, 'into the void');
    await say(eve, 'after');
    for (const page of pages) {
      await shows(page, 'after');
      // Who was slow to come back has got this as history.
      assert.deepEqual((await messages(page)).slice(-2), ['into the void', 'after']);
      await page.waitForFunction(() => document.querySelectorAll('#people li').length === 3);
      assert.deepEqual(page.errors, []);
    }
  });
}

await test('chat: WebSockets that die early: the page settles for something else', async ({ defer }) => {
  const server = await serve('chat');
  defer(() => server.stop());
  const proxy = await Proxy.start({ '/': server.host });
  defer(() => proxy.stop());
  proxy.websockets = 500;
  proxy.head = 2;
  const [ada] = await tabs(defer, proxy.host, { Ada: 'auto' });
  const [bob] = await tabs(defer, server.host, { Bob: 'auto' });
  await isOpen(ada, 'sse');
  await say(ada, 'still here');
  await shows(bob, 'still here');
  assert.match(await ada.textContent('#events'), /Resumed on SSE, nothing lost/);
  assert.equal(await ada.locator('#people li').count(), 2);
  await screenshot(ada, 'chat-early-deaths');
});

await test('chat: the terminal client joins the same room', async ({ defer }) => {
  const server = await serve('chat');
  defer(() => server.stop());
  const [ada] = await tabs(defer, server.host, { Ada: 'auto' });
  const terminal = start(
    example('chat-terminal'),
    ['--url', `http://${server.host}/rt`, '--name', 'Terry', '--transport', 'sse'],
    { stdio: ['pipe', 'pipe', 'pipe'] },
  );
  defer(() => terminal.kill('SIGKILL'));
  await ada.waitForFunction(() => document.querySelectorAll('#people li').length === 2);
  terminal.stdin.write('from a terminal\n');
  await shows(ada, 'from a terminal');
  await say(ada, 'from a browser');
  await shows(ada, 'from a browser');
  terminal.stdin.end();
  const { code } = await terminal.ended;
  assert.equal(code, 0, terminal.output);
  assert.match(terminal.output, /from a browser/);
  await ada.waitForFunction(() => document.querySelectorAll('#people li').length === 1);
});

await test('chat: on a phone, with somebody who asks for a name', async ({ defer }) => {
  const server = await serve('chat');
  defer(() => server.stop());
  const phone = { viewport: { width: 390, height: 844 }, colorScheme: 'dark' };
  const page = await browser.tab(defer, `http://${server.host}/`, phone);
  await page.waitForSelector('#hello[open]');
  await screenshot(page, 'chat-phone-hello');
  await page.fill('#name', 'Zoë');
  await page.click('#hello-form button');
  await page.waitForSelector('#state[data-state=open]');
  for (const text of ['A long word: '.concat('x'.repeat(300)), 'and a short one']) {
    await say(page, text);
    await shows(page, text);
  }
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `${overflow} px too wide`);
  await screenshot(page, 'chat-phone');
  assert.deepEqual(page.errors, []);
});

// --- The dashboard ------------------------------------------------------------------------------

await test('dashboard: the page is live, and again after a restart', async ({ defer }) => {
  let dashboard = await serve('dashboard');
  defer(() => dashboard.stop());
  const page = await browser.tab(defer, `http://${dashboard.host}/`);
  const live = (points) => page.waitForFunction(
    (count) => document.getElementById('state').textContent === 'live'
      && /^\d/.test(document.getElementById('memory').textContent)
      && document.getElementById('line').getAttribute('points').split(' ').length >= count,
    points,
  );
  await live(3);
  await screenshot(page, 'dashboard');
  await dashboard.stop();
  await page.waitForFunction(() => document.getElementById('state').textContent === 'reconnecting…');
  dashboard = await serve('dashboard', dashboard.host);
  await live(4);
  assert.deepEqual(page.errors, []);
});

await test('the servers have not panicked', async () => {
  for (const server of [echo, chat]) {
    const output = await server.stop();
    assert.ok(!output.includes('panicked'), output);
  }
});
await rig.stop();
await browser.close();
process.exit();

// --- The chat page, as a person uses it ---------------------------------------------------------

/** Opens the chat once for everybody, with a forced transport or `auto`. */
async function tabs(defer, host, people) {
  const pages = [];
  for (const [name, transport] of Object.entries(people)) {
    const page = await browser.tab(defer, `http://${host}/?name=${name}&transport=${transport}`);
    await page.waitForSelector('#state[data-state=open]');
    if (transport !== 'auto') await isOpen(page, transport);
    pages.push(page);
  }
  return pages;
}

function isOpen(page, transport) {
  return page.waitForFunction(
    (text) => document.getElementById('state-text').textContent === text,
    `Open on ${LABELS[transport]}`,
  );
}

async function say(page, text) {
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
}

/** Waits until a message is on the page, and is not waiting for the server. */
function shows(page, text) {
  return page.waitForFunction(
    (wanted) => [...document.querySelectorAll('.message:not(.pending) .bubble')]
      .some((bubble) => bubble.textContent === wanted),
    text,
  );
}

function messages(page) {
  return page.$$eval('.message .bubble', (bubbles) => bubbles.map((bubble) => bubble.textContent));
}

/** Says numbers, one after the other, as fast as timers go. */
function chatter(page, first, count) {
  return page.evaluate(async ([begin, end]) => {
    for (let number = begin; number < end; number += 1) {
      document.getElementById('text').value = number;
      document.getElementById('composer').requestSubmit();
      await new Promise((resolve) => { setTimeout(resolve, 5); });
    }
  }, [first, first + count]);
}

// --- What runs in pages -------------------------------------------------------------------------

function base64(bytes) {
  return Buffer.from(bytes).toString('base64');
}

async function plainWebSocket({ path, texts, bytes }) {
  const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const wrong = [];
  const socket = new WebSocket(`ws://${location.host}${path}`);
  socket.binaryType = 'arraybuffer';
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onclose = () => reject(new Error('not opened'));
  });
  if (socket.protocol !== '' || socket.extensions !== '') wrong.push('protocol or extensions');
  const sent = [...texts, ...bytes.map(decode)];
  for (const message of sent) socket.send(message);
  for (const message of sent) {
    // All are on the way; `onmessage` is set again before the next task.
    const { data } = await new Promise((resolve, reject) => {
      socket.onmessage = resolve;
      socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`));
    });
    const same = typeof message === 'string'
      ? data === message
      : data.byteLength === message.length && new Uint8Array(data).every((byte, i) => byte === message[i]);
    if (!same) wrong.push(String(message).slice(0, 40));
  }
  const closed = new Promise((resolve) => {
    socket.onclose = resolve;
  });
  socket.close(4321, 'tschüß');
  const { code, wasClean } = await closed;
  if (code !== 4321 || !wasClean) wrong.push(`closed with ${code}`);

  // The server agrees upon none of these, so that the browser has to fail.
  const refused = new WebSocket(`ws://${location.host}${path}`, ['klingon']);
  const opened = await new Promise((resolve) => {
    refused.onopen = () => resolve(true);
    refused.onerror = () => resolve(false);
  });
  if (opened) wrong.push('opened with a subprotocol');
  return wrong;
}

async function plainEventSource({ texts, bytes }) {
  const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const encoder = new TextEncoder();
  const same = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);
  const source = new EventSource('/rt?transport=sse');
  const events = [];
  let wake;
  for (const type of ['switchback', 'message', 'text', 'binary']) {
    source.addEventListener(type, (event) => {
      events.push(event);
      wake?.();
    });
  }
  const next = async () => {
    while (events.length === 0) await new Promise((resolve) => { wake = resolve; });
    return events.shift();
  };
  const { connection } = JSON.parse((await next()).data);
  const sent = [...texts, ...bytes.map(decode)];
  const parts = sent.flatMap((message) => {
    const payload = typeof message === 'string' ? encoder.encode(message) : message;
    return [`${typeof message === 'string' ? 't' : 'b'}${payload.length}:`, payload];
  });
  const response = await fetch('/rt?transport=sse&first=1', {
    method: 'POST',
    headers: { 'Switchback-Connection': connection, 'Content-Type': 'application/x-switchback-batch' },
    body: new Blob(parts),
  });
  const { received } = await response.json();
  const wrong = received === sent.length ? [] : [`received ${received}`];
  for (const message of sent) {
    const { type, data } = await next();
    const fits = {
      message: () => data === message,
      text: () => message.includes('\r') && same(decode(data), encoder.encode(message)),
      binary: () => typeof message !== 'string' && same(decode(data), message),
    }[type]?.();
    if (!fits) wrong.push(`${type} ${data.slice(0, 40)} for ${String(message).slice(0, 40)}`);
  }
  source.close();
  return wrong;
}

/** Opens a session, sends a message once that is open, and waits for the echo. */
async function speakOnceOpen({ transport, message }) {
  const { Switchback } = await import('/switchback.js');
  const connection = new Switchback('/rt', { transport });
  const first = (type) => new Promise((resolve) => {
    connection.addEventListener(type, resolve, { once: true });
  });
  await first('state');
  if (message === undefined) return;
  // Not in the same go, but at the next opportunity.
  await new Promise((resolve) => { setTimeout(resolve); });
  connection.send(message);
  await first('message');
}

async function sessionEcho({ transport, texts, bytes }) {
  const { Switchback } = await import('/switchback.js');
  const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const connection = new Switchback('/rt', { transport });
  const wrong = [];
  for (const message of [...texts, ...bytes.map(decode)]) {
    const data = await new Promise((resolve, reject) => {
      connection.addEventListener('message', (event) => resolve(event.data), { once: true });
      connection.addEventListener('close', ({ detail }) => reject(new Error(`closed: ${detail.code}`)));
      connection.send(message);
    });
    const same = typeof message === 'string'
      ? data === message
      : data.length === message.length && data.every((byte, i) => byte === message[i]);
    if (!same) wrong.push(`${String(data).slice(0, 40)} for ${String(message).slice(0, 40)}`);
  }
  connection.close();
  return wrong;
}
