// Through real nginx and haproxy: our Rust client, and the client of the chat page in a browser.

import assert from 'node:assert/strict';

import { Browser, assertWhole, exchange, missing as noBrowser } from './lib/browser.mjs';
import { UPGRADE, haproxy, missing, nginx } from './lib/gateways.mjs';
import { example, run, serve } from './lib/process.mjs';
import { skip, test } from './lib/suite.mjs';

const echo = await serve('echo');
const chat = await serve('chat');
const browser = noBrowser ? null : await Browser.launch();
if (noBrowser) skip('the page client through proxies', 'missing chromium');
const backends = { echo: echo.host, chat: chat.host };

const SSE_IGNORED = 'proxy_ignore_headers X-Accel-Buffering;';
const GZIP = 'gzip on; gzip_min_length 0; gzip_proxied any; gzip_types text/event-stream application/x-switchback-batch;';

// What `auto` ends up with behind each, and whether silence is cut.
const GATEWAYS = [
  { name: 'nginx by default, without upgrade headers', start: nginx, lines: '', best: 'sse' },
  { name: 'nginx with upgrade headers', start: nginx, lines: UPGRADE, best: 'websocket' },
  {
    name: 'nginx with upgrade headers that cuts after 2 s of silence',
    start: nginx,
    lines: `${UPGRADE} proxy_read_timeout 2s;`,
    best: 'websocket',
    cuts: true,
  },
  { name: 'nginx with gzip on event streams', start: nginx, lines: GZIP, best: 'sse' },
  { name: 'nginx that buffers all event streams', start: nginx, lines: SSE_IGNORED, best: 'longpoll' },
  {
    name: 'nginx that buffers and compresses all event streams',
    start: nginx,
    lines: `${SSE_IGNORED} ${GZIP}`,
    best: 'longpoll',
  },
  { name: 'haproxy that cuts after 2 s of silence', start: haproxy, lines: '', best: 'websocket', cuts: true },
  {
    name: 'haproxy that deletes Upgrade and Connection',
    start: haproxy,
    lines: 'http-request del-header Upgrade\n  http-request del-header Connection',
    best: 'sse',
    cuts: true,
  },
];

/** How often `auto` may take something else than the best: on a busy machine a race may go so. */
const RACES = 3;

// The gateways are tried beside each other, because the cases with silence mostly wait. One at a time
// flows in the browser.
let turn = Promise.resolve();
await Promise.all(GATEWAYS.map(through));

await test('the servers behind the proxies have not panicked', async () => {
  for (const server of [echo, chat]) {
    const output = await server.stop();
    assert.ok(!output.includes('panicked'), output);
  }
});
await browser?.close();
process.exit();

async function through({ name, start, lines, best, cuts = false }) {
  if (missing[start.name]) {
    skip(name, `missing ${start.name}`);
    return;
  }
  const undo = [];
  try {
    const host = await start((action) => undo.push(action), backends, lines);
    await both(host, name, { messages: 1000 }, async (flow) => {
      let result;
      for (let race = 1; race <= RACES && result?.transports[0] !== best; race += 1) {
        result = await flow();
        assertWhole(result, 1000);
      }
      assert.deepEqual(result.transports, [best]);
    });
    // Buffered event streams and refused WebSockets cannot be forced.
    const possible = { websocket: ['websocket', 'sse', 'longpoll'], sse: ['sse', 'longpoll'], longpoll: ['longpoll'] };
    for (const transport of possible[best]) {
      await both(host, `${name}: ${transport}`, { transport, messages: 300 }, async (flow) => {
        const result = await flow();
        assertWhole(result, 300);
        assert.deepEqual(result.transports, [transport]);
      });
    }
    if (!cuts) return;
    await both(host, `${name}: silence`, { messages: 300, cuts: 2 }, async (flow) => {
      const result = await flow();
      assertWhole(result, 900);
      assert.ok(result.cut >= 2 && result.resumed >= 2, JSON.stringify(result));
    });
    for (const transport of possible[best]) {
      await both(host, `${name}: silence on ${transport}`, { transport, messages: 300, cuts: 1 }, async (flow) => {
        const result = await flow();
        assertWhole(result, 600);
        assert.ok(result.cut >= 1 && result.resumed >= 1, JSON.stringify(result));
      });
    }
  } finally {
    for (const action of undo.reverse()) await action();
  }
}

/** Does the same with both clients: `check` calls what it is given for a flow of messages. */
async function both(host, name, options, check) {
  const args = Object.entries(options).flatMap(([key, value]) => [`--${key}`, `${value}`]);
  await test(`Rust client, ${name}`, () => check(async () => {
    const { code, stdout, output } = await run(example('e2e-client'), ['--url', `http://${host}/rt`, ...args]);
    assert.equal(code, 0, output);
    return JSON.parse(stdout);
  }));
  if (browser === null) return;
  const inBrowser = () => test(`page client, ${name}`, ({ defer }) => check(async () => {
    const page = await browser.tab(defer, `http://${host}/style.css`);
    return exchange(page, options);
  }));
  if (options.cuts > 0) {
    await inBrowser();
  } else {
    turn = turn.then(inBrowser);
    await turn;
  }
}
