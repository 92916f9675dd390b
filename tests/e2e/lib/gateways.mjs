// Real proxies with configurations as they are met in the wild, in front of the echo and the chat's
// files.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { daemon, freePort } from './process.mjs';

export const missing = {
  nginx: spawnSync('nginx', ['-v']).error !== undefined,
  haproxy: spawnSync('haproxy', ['-v']).error !== undefined,
};

/** What makes nginx pass WebSockets on, as its manual says. */
export const UPGRADE = `
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;`;

/** Starts nginx with some more lines for its `server` and returns its `host:port`. */
export function nginx(defer, { echo, chat }, lines = '') {
  const user = process.getuid() === 0 ? 'user root;' : '';
  return listen(defer, 'nginx', (port, directory) => `
daemon off;
${user}
worker_processes 1;
pid ${directory}/nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  map $http_upgrade $connection_upgrade { default upgrade; '' close; }
  server {
    listen 127.0.0.1:${port};
    location /rt {
      proxy_pass http://${echo};
      ${lines}
    }
    location / {
      proxy_pass http://${chat};
    }
  }
}
`, (file) => ['-e', 'stderr', '-c', file]);
}

/** Starts haproxy with some more lines for its frontend and returns its `host:port`. */
export function haproxy(defer, { echo, chat }, lines = '') {
  return listen(defer, 'haproxy', (port) => `
global
  maxconn 256
defaults
  mode http
  timeout connect 2s
  timeout client 2s
  timeout server 2s
  timeout tunnel 2s
frontend all
  bind 127.0.0.1:${port}
  ${lines}
  use_backend echo if { path_beg /rt }
  default_backend chat
backend echo
  server echo ${echo}
backend chat
  server chat ${chat}
`, (file) => ['-db', '-f', file]);
}

async function listen(defer, program, configure, args) {
  const directory = mkdtempSync(join(tmpdir(), 'switchback-e2e-'));
  defer(() => rmSync(directory, { recursive: true, force: true }));
  const file = join(directory, `${program}.conf`);
  // Somebody else may take the port before the proxy does.
  for (let tries = 1; ; tries += 1) {
    const port = await freePort();
    writeFileSync(file, configure(port, directory));
    try {
      const running = await daemon(program, args(file), port);
      defer(() => running.stop());
      return `127.0.0.1:${port}`;
    } catch (error) {
      if (tries === 3) throw error;
    }
  }
}
