// A redis-server of a test's own, which keeps nothing on disk.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, until } from './program.mjs';

// startRedis gives one that is started with these arguments besides its own.
export async function startRedis(args = []) {
  const redis = new Redis(await freePort(), args);
  await redis.start();
  return redis;
}

class Redis {
  #child;
  #folder = mkdtempSync(join(tmpdir(), 'redis-'));

  constructor(port, args) {
    this.port = port;
    this.args = args;
    this.url = `redis://127.0.0.1:${port}`;
  }

  async start() {
    const args = ['--port', `${this.port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', this.#folder, ...this.args];
    this.#child = spawn('redis-server', args, { stdio: 'ignore' });
    const failed = new Promise((_, reject) => {
      this.#child.on('error', (error) => reject(new Error(`missing: redis-server; scripts/prepare redis installs it (${error.message})`)));
    });
    const child = this.#child;
    const endWithUs = () => child.kill('SIGKILL');
    process.once('exit', endWithUs);
    child.once('close', () => process.off('exit', endWithUs));
    await Promise.race([failed, until(`Redis at ${this.url}`, () => this.#answers())]);
  }

  #answers() {
    return new Promise((resolve, reject) => {
      const socket = createConnection(this.port, '127.0.0.1', () => socket.write('PING\r\n'));
      socket.once('data', (data) => (socket.destroy(), resolve(`${data}`.startsWith('+PONG'))));
      socket.once('error', reject);
    });
  }

  // kill ends it as a machine that loses its power does.
  async kill() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.kill('SIGKILL');
    await ended;
  }

  async stop() {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
