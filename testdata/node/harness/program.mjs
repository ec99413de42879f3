// Runs the built binary, keeps what it prints, and makes sure it ends with the test.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const binary = process.env.SUPABRIDGE_BIN ?? fileURLToPath(new URL('../../../bin/supabridge', import.meta.url));

// An empty folder for the programs to run in, so that no .env file of somebody's is read.
const folder = mkdtempSync(join(tmpdir(), 'supabridge-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

// freePort is a port of the loopback interface nobody listens on now.
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

// until asks probe again every 20 ms for something truthy, and fails with `what` after `seconds`.
export async function until(what, probe, seconds = 20) {
  const deadline = Date.now() + seconds * 1000;
  for (let last = null; ; ) {
    try {
      const found = await probe();
      if (found) return found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`no ${what} within ${seconds} s${last ? `: ${last.message}` : ''}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export class Program {
  #child;
  #output = '';

  // start runs the binary with nothing of our own environment but PATH.
  static start(args, env = {}) {
    if (!existsSync(binary)) throw new Error(`no binary at ${binary}: run make build, or set SUPABRIDGE_BIN`);
    return new Program(args, env);
  }

  constructor(args, env) {
    this.args = args;
    this.#child = spawn(binary, args, {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => (this.#output += text));
    }
    // Settles once it has ended and all of its output was read.
    this.ended = new Promise((resolve, reject) => {
      this.#child.on('error', reject);
      this.#child.on('close', (code, signal) => resolve({ code, signal }));
    });
    this.ended.catch(() => {});
    const endWithUs = () => this.#child.kill('SIGKILL');
    process.once('exit', endWithUs);
    this.ended.finally(() => process.off('exit', endWithUs)).catch(() => {});
  }

  get output() {
    return this.#output;
  }

  // lines are the JSON log lines printed so far.
  get lines() {
    return this.#output
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line));
  }

  get running() {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  // answers waits until GET url gives the status, and fails early, with what was printed, if the program ends instead.
  answers(url, status = 200) {
    return until(`${status} from ${url}`, async () => {
      if (!this.running) {
        throw new Error(`supabridge ${this.args.join(' ')} has ended (code ${this.#child.exitCode}, signal ${this.#child.signalCode}):\n${this.#output}`);
      }
      const response = await fetch(url, { signal: AbortSignal.timeout(2000) });
      await response.arrayBuffer();
      return response.status === status;
    });
  }

  async signal(name) {
    this.#child.kill(name);
    return this.ended;
  }

  async stop() {
    if (!this.running) return this.ended;
    return this.signal('SIGTERM');
  }
}
