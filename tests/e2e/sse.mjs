// Server-Sent Events: npm's `eventsource` and undici's EventSource against our servers.

import assert from 'node:assert/strict';

import { EventSource } from 'eventsource';
import { EventSource as UndiciEventSource, fetch } from 'undici';

import { BYTES, TEXTS, noise } from './lib/payloads.mjs';
import { serve } from './lib/process.mjs';
import { Proxy } from './lib/proxy.mjs';
import { Queue, test } from './lib/suite.mjs';

const echo = await serve('echo');
const dashboard = await serve('dashboard');
const CLIENTS = { eventsource: EventSource, undici: UndiciEventSource };
const MESSAGES = [...TEXTS, ...BYTES, noise(100_000)];

for (const [client, Source] of Object.entries(CLIENTS)) {
  await test(`${client} /rt: POSTs come back as events, bit for bit`, async ({ defer }) => {
    const { url, events } = listen(defer, Source, `http://${echo.host}/rt?transport=sse`, [
      'switchback',
      'message',
      'text',
      'binary',
    ]);
    const hello = await events.next('the first event');
    assert.equal(hello.type, 'switchback');
    const { connection } = JSON.parse(hello.data);
    const received = await post(`${url}&first=1`, connection, MESSAGES);
    assert.equal(received, MESSAGES.length);
    for (const message of MESSAGES) check(await events.next('an echo'), message);
  });

  await test(`${client} dashboard: named events with ids`, async ({ defer }) => {
    const { events } = listen(defer, Source, `http://${dashboard.host}/events`, ['sample']);
    let before = 0;
    for (let i = 0; i < 3; i += 1) {
      const { type, data, lastEventId } = await events.next('a sample');
      assert.equal(type, 'sample');
      assert.ok(Number(lastEventId) > before, `${lastEventId} after ${before}`);
      before = Number(lastEventId);
      assert.ok(JSON.parse(data).memory > 0);
    }
  });

  await test(`${client} dashboard: comes back with Last-Event-ID after a cut`, async ({ defer }) => {
    const proxy = await Proxy.start({ '/': dashboard.host });
    defer(() => proxy.stop());
    const { events } = listen(defer, Source, `http://${proxy.host}/events`, ['sample']);
    let last;
    for (let cuts = 1; cuts <= 2; cuts += 1) {
      last = await events.next('a sample');
      const begin = Date.now();
      proxy.cut();
      const next = await events.next('a sample after the cut');
      // The server said `retry: 1000`; clients may wait longer.
      assert.ok(Date.now() - begin > 900, 'it did not wait for the reconnection time');
      assert.ok(Number(next.lastEventId) > Number(last.lastEventId));
      assert.equal(proxy.requests[cuts].headers['last-event-id'], last.lastEventId);
    }
  });
}

await test('eventsource /rt: the connection ends with the stream', async ({ defer }) => {
  const { source, url, events } = listen(
    defer,
    EventSource,
    `http://${echo.host}/rt?transport=sse`,
    ['switchback', 'message'],
  );
  const { connection } = JSON.parse((await events.next()).data);
  source.close();
  // The server notices on its own time.
  const headers = { 'Switchback-Connection': connection };
  for (let first = 1, status = 0; status !== 404; first += 1) {
    const response = await fetch(`${url}&first=${first}`, { method: 'POST', headers, body: 't1:x' });
    status = response.status;
    const answer = await response.json();
    if (status === 404) assert.equal(answer.error, 'unknown_connection');
    else assert.equal(status, 200);
  }
});

await test('eventsource /rt: closes by a server that stops have their code', async ({ defer }) => {
  const chat = await serve('chat');
  defer(() => chat.stop());
  const { url, events } = listen(defer, EventSource, `http://${chat.host}/rt?transport=sse`, [
    'switchback',
    'message',
  ]);
  const { connection } = JSON.parse((await events.next()).data);
  await post(`${url}&first=1`, connection, [JSON.stringify({ type: 'join', name: 'Ada' })]);
  assert.equal(JSON.parse((await events.next('the welcome')).data).type, 'welcome');
  await chat.stop('SIGINT');
  let event;
  do event = await events.next('the close'); while (event.type !== 'switchback');
  const { close } = JSON.parse(event.data);
  assert.equal(close.code, 1001);
  assert.notEqual(close.reason, '');
});

await echo.stop();
await dashboard.stop();
process.exit();

function listen(defer, Source, url, types) {
  const source = new Source(url);
  const events = new Queue();
  for (const type of types) source.addEventListener(type, (event) => events.put(event));
  defer(() => source.close());
  return { source, url, events };
}

async function post(url, connection, messages) {
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      'Switchback-Connection': connection,
      'Content-Type': 'application/x-switchback-batch',
    },
    body: Buffer.concat(messages.map(record)),
  });
  assert.equal(response.status, 200);
  return (await response.json()).received;
}

function record(message) {
  const payload = Buffer.from(message);
  const type = typeof message === 'string' ? 't' : 'b';
  return Buffer.concat([Buffer.from(`${type}${payload.length}:`), payload]);
}

function check({ type, data }, message) {
  if (typeof message !== 'string') {
    assert.equal(type, 'binary');
    assert.ok(Buffer.from(data, 'base64').equals(Buffer.from(message)));
  } else if (message.includes('\r')) {
    assert.deepEqual([type, Buffer.from(data, 'base64').toString()], ['text', message]);
  } else {
    assert.deepEqual([type, data], ['message', message]);
  }
}
