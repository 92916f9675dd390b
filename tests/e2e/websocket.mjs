// WebSocket: npm's `ws` and undici against our servers, and our client against a server of `ws`.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';

import { WebSocket as UndiciWebSocket } from 'undici';
import { WebSocket, WebSocketServer } from 'ws';

import { BYTES, MEBIBYTE, TEXTS, noise } from './lib/payloads.mjs';
import { example, run, serve } from './lib/process.mjs';
import { Queue, test, within } from './lib/suite.mjs';

const echo = await serve('echo');
const ENDPOINTS = ['/ws', '/rt'];

// The server pings after 25 s of silence: this one waits beside all others.
const pinged = Promise.all(
  ENDPOINTS.map((path) =>
    test(`ws ${path}: ping from the server`, async () => {
      const socket = await open(path);
      const ping = new Promise((resolve) => {
        socket.on('ping', resolve);
      });
      await within(50_000, 'the ping', ping);
      // The pong has arrived, or the server would be about to close.
      await roundTrip(socket, 'still here');
      await close(socket);
    }),
  ),
);

for (const path of ENDPOINTS) {
  await test(`ws ${path}: text and binary, bit for bit`, async () => {
    const socket = await open(path);
    for (const text of TEXTS) await roundTrip(socket, text);
    for (const bytes of BYTES) await roundTrip(socket, bytes);
    await close(socket);
  });

  await test(`ws ${path}: 1 MiB of text and of bytes`, async () => {
    const socket = await open(path);
    await roundTrip(socket, 'ü'.repeat(MEBIBYTE / 2));
    await roundTrip(socket, noise(MEBIBYTE));
    await close(socket);
  });

  await test(`ws ${path}: 1000 messages under way at once stay in order`, async () => {
    const socket = await open(path);
    for (let i = 0; i < 1000; i += 1) socket.send(`message ${i}`);
    for (let i = 0; i < 1000; i += 1) {
      assert.equal(String((await socket.inbox.next()).data), `message ${i}`);
    }
    await close(socket);
  });

  await test(`ws ${path}: fragments, with a ping between them`, async () => {
    const socket = await open(path);
    const pong = new Promise((resolve) => {
      socket.on('pong', resolve);
    });
    // "ü" and "€" are cut in two.
    const bytes = Buffer.from('grün und 1 €');
    socket.send(bytes.subarray(0, 3), { fin: false, binary: false });
    socket.ping('in between');
    socket.send(bytes.subarray(3, 12), { fin: false, binary: false });
    socket.send(bytes.subarray(12, 12), { fin: false, binary: false });
    socket.send(bytes.subarray(12), { fin: true, binary: false });
    const { data, isBinary } = await socket.inbox.next();
    assert.deepEqual([String(data), isBinary], ['grün und 1 €', false]);
    assert.equal(String(await within(5_000, 'the pong', pong)), 'in between');
    await close(socket);
  });

  await test(`ws ${path}: pings from the client are answered with their payload`, async () => {
    const socket = await open(path);
    const pongs = new Queue();
    socket.on('pong', (data) => pongs.put(data));
    for (const payload of ['', 'x', noise(125)]) {
      socket.ping(payload);
      assert.deepEqual(Buffer.from(payload), await pongs.next('a pong'));
    }
    await close(socket);
  });

  await test(`ws ${path}: compression is offered and declined`, async () => {
    const socket = await open(path, [], { perMessageDeflate: true });
    assert.equal(socket.extensions, '');
    await roundTrip(socket, 'x'.repeat(5000));
    await close(socket);
  });

  for (const [code, reason] of [[1000, 'bye'], [1001, ''], [1011, 'ä'.repeat(61)], [3000, 'x'], [4999, '']]) {
    await test(`ws ${path}: close ${code} from the client is confirmed`, async () => {
      const socket = await open(path);
      assert.equal(await close(socket, code, reason), code);
    });
  }

  await test(`ws ${path}: close without a code is confirmed`, async () => {
    const socket = await open(path);
    const code = await close(socket, null);
    // RFC 6455, 7.1.5: none is 1005, and an answer of 1000 is fine too.
    assert.ok([1000, 1005].includes(code), `closed with ${code}`);
  });

  await test(`ws ${path}: a subprotocol that the server does not speak is not agreed upon`, async () => {
    await assert.rejects(open(path, ['klingon']), /no subprotocol/);
  });

  await test(`undici ${path}: text and binary, bit for bit, and a close`, async () => {
    const socket = new UndiciWebSocket(`ws://${echo.host}${path}`);
    socket.binaryType = 'arraybuffer';
    const inbox = new Queue();
    const closed = new Queue();
    socket.addEventListener('message', ({ data }) => inbox.put(data));
    socket.addEventListener('close', (event) => closed.put(event));
    await within(10_000, 'opening', new Promise((resolve, reject) => {
      socket.addEventListener('open', resolve);
      socket.addEventListener('error', reject);
    }));
    assert.equal(socket.protocol, '');
    // undici drops a BOM at the beginning of what it receives, which is part of the message.
    const texts = TEXTS.filter((text) => !text.startsWith('\uFEFF'));
    for (const text of [...texts, 'ü'.repeat(MEBIBYTE / 2)]) {
      socket.send(text);
      assert.equal(await inbox.next('an echo'), text);
    }
    for (const bytes of [...BYTES, noise(MEBIBYTE)]) {
      socket.send(bytes);
      assert.deepEqual(new Uint8Array(await inbox.next('an echo')), bytes);
    }
    socket.close(4001, 'bye');
    const { code, wasClean } = await closed.next('the close');
    assert.deepEqual([code, wasClean], [4001, true]);
  });
}

await test('ws /rt: a session by hand, with its subprotocol', async () => {
  const id = randomBytes(16).toString('base64url');
  const socket = await open('/rt', ['switchback', `switchback.1.new.${id}.1.1`]);
  assert.equal(socket.protocol, 'switchback');
  const opened = String((await socket.inbox.next()).data);
  assert.match(opened, /^\u0001opened \{/);
  const { session, token, resumed, next } = JSON.parse(opened.slice(8));
  assert.deepEqual([session, resumed, next], [id, false, 1]);

  socket.send('\u0001select 0');
  await roundTrip(socket, 'hello');
  socket.send('\u0001\u0001 escaped');
  assert.equal(String((await socket.inbox.next()).data), '\u0001\u0001 escaped');
  socket.terminate();

  // What is lost on the way is repeated: this client says that it has received only one of two.
  const hello = `switchback.1.resume.${id}.${token}.2.2.1`;
  const again = await open('/rt', ['switchback', hello]);
  const reopened = JSON.parse(String((await again.inbox.next()).data).slice(8));
  assert.deepEqual([reopened.resumed, reopened.received, reopened.next], [true, 2, 2]);
  assert.equal(String((await again.inbox.next()).data), '\u0001\u0001 escaped');
  again.send('\u0001select 2');
  await roundTrip(again, 'on it goes');
  await close(again);
});

await test('ws /rt: closes by a server that stops have their code and reason', async ({ defer }) => {
  const chat = await serve('chat');
  defer(() => chat.stop());
  const socket = await open('/rt', [], {}, chat.host);
  const closed = new Promise((resolve) => {
    socket.on('close', (code, reason) => resolve([code, String(reason)]));
  });
  socket.send(JSON.stringify({ type: 'join', name: 'Ada' }));
  await socket.inbox.next('the welcome');
  await chat.stop('SIGINT');
  const [code, reason] = await within(10_000, 'the close', closed);
  assert.equal(code, 1001);
  assert.notEqual(reason, '');
});

await test('our client against a server of ws', async ({ defer }) => {
  const server = new WebSocketServer({
    host: '127.0.0.1',
    port: 0,
    perMessageDeflate: false,
    handleProtocols: (offered) => offered.has('echo') && 'echo',
  });
  defer(() => server.close());
  await new Promise((resolve) => {
    server.on('listening', resolve);
  });
  const closes = new Queue();
  server.on('connection', (socket) => {
    socket.on('close', (code, reason) => closes.put(`${code} ${reason}`));
    socket.on('error', (error) => closes.put(String(error)));
    const ping = new Promise((resolve) => {
      socket.on('ping', resolve);
    });
    socket.on('message', (data, isBinary) => obey(socket, data, isBinary, ping));
  });
  const url = `ws://127.0.0.1:${server.address().port}/`;
  const { code, output } = await run(example('foreign_server_client'), ['--url', url]);
  assert.equal(code, 0, output);
  while ((await closes.next('the close 4001 bye ü', 5_000)) !== '4001 bye ü');
});

// --- What breaks the protocol -------------------------------------------------------------------

const VIOLATIONS = [
  ['a frame without a mask', 1002, [0x81, 0x02, 0x68, 0x69]],
  ['a reserved bit', 1002, masked(0xc1, 'hi')],
  ['a reserved opcode', 1002, masked(0x83, 'hi')],
  ['a reserved control opcode', 1002, masked(0x8b, '')],
  ['a fragmented ping', 1002, masked(0x09, 'hi')],
  ['a ping of 126 bytes', 1002, [0x89, 0xfe, 0, 126, 0, 0, 0, 0, ...new Uint8Array(126)]],
  ['a continuation of nothing', 1002, masked(0x80, 'hi')],
  ['a message inside of another', 1002, [...masked(0x01, 'a'), ...masked(0x81, 'b')]],
  ['text that is not UTF-8', 1007, masked(0x81, [0xc3, 0x28])],
  ['text that ends inside of a character', 1007, masked(0x81, [0xe2, 0x82])],
  ['a surrogate', 1007, masked(0x81, [0xed, 0xa0, 0x80])],
  ['a close of one byte', 1002, masked(0x88, [3])],
  ['a close with 1005', 1002, masked(0x88, [3, 0xed])],
  ['a close with 999', 1002, masked(0x88, [3, 0xe7])],
  ['a close whose reason is not UTF-8', 1007, masked(0x88, [3, 0xe8, 0xff])],
  ['a frame of 64 MiB and one byte', 1009, [0x82, 0xff, 0, 0, 0, 0, 4, 0, 0, 1, 0, 0, 0, 0]],
];

for (const path of ENDPOINTS) {
  for (const [what, code, frame] of VIOLATIONS) {
    await test(`raw ${path}: ${what} is answered with ${code}`, async ({ defer }) => {
      const socket = await open(path);
      defer(() => socket.terminate());
      const closed = new Promise((resolve) => {
        socket.on('close', resolve);
      });
      // Past the WebSocket, which would not send that.
      socket._socket.write(Uint8Array.from(frame));
      assert.equal(await within(10_000, 'the close', closed), code);
    });
  }
}

for (const [what, frame] of [
  ['neither control frame nor escape', '\u0001?'],
  ['a select without a number', '\u0001select'],
  ['an acknowledgement of what was not sent', '\u0001ack 7'],
]) {
  await test(`ws /rt: a session with ${what} is ended with 1002`, async () => {
    const id = randomBytes(16).toString('base64url');
    const socket = await open('/rt', ['switchback', `switchback.1.new.${id}.1.1`]);
    await socket.inbox.next('opened');
    const closed = new Promise((resolve) => {
      socket.on('close', resolve);
    });
    socket.send(frame);
    assert.equal(await within(10_000, 'the close', closed), 1002);
  });
}

await pinged;
await echo.stop();
process.exit();

/** The commands of the client, see crates/switchback-ws/examples/foreign_server_client.rs. */
async function obey(socket, data, isBinary, ping) {
  const command = isBinary ? '' : String(data);
  if (command === 'fragments') {
    socket.send('one ', { fin: false });
    socket.ping('between');
    socket.send('two ', { fin: false });
    socket.send('three', { fin: true });
  } else if (command === 'ping') {
    socket.once('pong', (payload) => socket.send(String(payload)));
    socket.ping('pong');
  } else if (command === 'await ping') {
    await ping;
    socket.send('pinged');
  } else if (command.startsWith('close ')) {
    socket.close(Number(command.slice(6, 10)), command.slice(11));
  } else if (command === 'drop') {
    socket.terminate();
  } else {
    socket.send(data, { binary: isBinary });
  }
}

/** A frame with a short payload and a mask of zeros. */
function masked(first, payload) {
  return [first, 0x80 | payload.length, 0, 0, 0, 0, ...Buffer.from(payload)];
}

async function open(path, protocols = [], options = {}, host = echo.host) {
  const socket = new WebSocket(`ws://${host}${path}`, protocols, options);
  socket.inbox = new Queue();
  socket.on('message', (data, isBinary) => socket.inbox.put({ data, isBinary }));
  await within(10_000, 'opening', new Promise((resolve, reject) => {
    socket.on('open', resolve);
    socket.on('error', reject);
  }));
  return socket;
}

async function roundTrip(socket, message) {
  socket.send(message);
  const { data, isBinary } = await socket.inbox.next(`the echo of ${String(message).slice(0, 20)}`);
  assert.equal(isBinary, typeof message !== 'string');
  assert.ok(Buffer.from(message).equals(data), `came back different: ${String(message).slice(0, 40)}`);
}

/** Closes and returns the code that the server has answered with. */
async function close(socket, code = 1000, reason = '') {
  const closed = new Promise((resolve) => {
    socket.on('close', resolve);
  });
  if (code === null) socket.close();
  else socket.close(code, reason);
  return within(10_000, 'the close', closed);
}
