// nginx with the configuration of deploy/nginx before the given nodes.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, until } from './program.mjs';

const sample = new URL('../../../deploy/nginx/supabridge.conf', import.meta.url);

export async function startNginx(ports) {
  const folder = mkdtempSync(join(tmpdir(), 'nginx-'));
  const port = await freePort();
  let conf = readFileSync(sample, 'utf8').replace('listen 80;', `listen 127.0.0.1:${port};`);
  ports.forEach((to, i) => (conf = conf.replaceAll(`127.0.0.1:300${i + 1} `, `127.0.0.1:${to} `)));
  writeFileSync(join(folder, 'supabridge.conf'), conf);
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ');
  writeFileSync(
    join(folder, 'nginx.conf'),
    `daemon off; worker_processes 1; pid ${folder}/pid; error_log ${folder}/error.log; events { worker_connections 4096; }
     http { access_log off; ${paths} include ${folder}/supabridge.conf; }`,
  );
  const child = spawn('nginx', ['-c', join(folder, 'nginx.conf'), '-p', folder], { stdio: 'ignore', env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } });
  const failed = new Promise((_, reject) => {
    child.on('error', (error) => reject(new Error(`missing: nginx; scripts/prepare nginx installs it (${error.message})`)));
    child.on('exit', () => reject(new Error(`nginx has ended:\n${readFileSync(join(folder, 'error.log'))}`)));
  });
  failed.catch(() => {});
  process.once('exit', () => child.kill('SIGKILL'));
  const url = `http://127.0.0.1:${port}`;
  await Promise.race([failed, until(`an answer from ${url}`, async () => (await fetch(`${url}/healthz`)).ok)]);
  return {
    url,
    async stop() {
      const ended = new Promise((resolve) => child.once('close', resolve));
      child.kill('SIGTERM');
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
