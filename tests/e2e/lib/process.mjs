// Programs that a case needs, each ended by its process id.

import { spawn } from 'node:child_process';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

import { within } from './suite.mjs';

const running = new Set();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));

/** Starts a program; `ended` tells how it ended, `output` is what it has printed. */
export function start(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  running.add(child);
  child.ended = new Promise((resolve) => {
    child.on('error', (error) => resolve({ code: null, error }));
    child.on('close', (code, signal) => resolve({ code, signal }));
  }).finally(() => running.delete(child));
  child.output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      child.output = (child.output + text).slice(-100_000);
    });
  }
  return child;
}

/** Where cargo has put an example. */
export function example(name) {
  return join(process.env.E2E_BIN ?? 'target/release/examples', name);
}

/** Runs a program to its end and returns what it printed on the standard output. */
export async function run(command, args, ms = 50_000) {
  const child = start(command, args);
  let stdout = '';
  child.stdout.on('data', (text) => {
    stdout += text;
  });
  try {
    const { code, error } = await within(ms, command, child.ended);
    return { code, stdout, output: error ? String(error) : child.output };
  } finally {
    child.kill('SIGKILL');
  }
}

/** Starts an example that listens, and returns it once it has said where. */
export async function serve(name, listen = '127.0.0.1:0') {
  const child = start(example(name), ['--listen', listen]);
  const lines = createInterface({ input: child.stdout });
  const address = new Promise((resolve) => {
    lines.on('line', (line) => {
      const [, found] = /(127\.0\.0\.1:\d+)/.exec(line) ?? [];
      if (found) resolve(found);
    });
  });
  const failed = child.ended.then(() => {
    throw new Error(`${name} ended at once: ${child.output}`);
  });
  failed.catch(() => {});
  const host = await within(20_000, `starting ${name}`, Promise.race([address, failed]));
  return {
    host,
    /** Ends it with a signal and returns what it has printed. */
    async stop(signal = 'SIGKILL') {
      child.kill(signal);
      await within(10_000, `stopping ${name}`, child.ended);
      return child.output;
    },
  };
}

/** Starts a daemon that listens on a port and does not say so. */
export async function daemon(command, args, port) {
  const child = start(command, args);
  let over = false;
  child.ended.then(() => {
    over = true;
  });
  const deadline = Date.now() + 10_000;
  while (!(await listens(port))) {
    if (over || Date.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`${command} does not listen: ${child.output}`);
    }
    await sleep(20);
  }
  return {
    async stop() {
      child.kill('SIGTERM');
      await within(5_000, `stopping ${command}`, child.ended).catch(() => child.kill('SIGKILL'));
    },
  };
}

function listens(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

/** A port that nobody listens on now. */
export async function freePort() {
  const server = createServer();
  await new Promise((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address();
  await new Promise((resolve) => {
    server.close(resolve);
  });
  return port;
}
