// A bridge of a cluster, which can be stopped, killed and started again on its port.
import { createServer } from 'node:net';
import { readFileSync } from 'node:fs';
import { clock } from './frontend.mjs';
import { Program } from './program.mjs';
import { anonKey, jwtSecret, serviceKey } from './tokens.mjs';

const endWait = 15_000; // until a program that was told to end counts as hanging

export class ClusterNode {
  #runs = []; // every program there was, oldest first

  constructor(port, standin, redis, env = {}) {
    Object.assign(this, { port, standin, redis, env });
  }

  get program() {
    return this.#runs.at(-1);
  }

  // output is what all its programs have printed.
  get output() {
    return this.#runs.map(({ output }) => output).join('\n');
  }

  async start() {
    this.#runs.push(
      Program.start(['run', '--listen', `127.0.0.1:${this.port}`], {
        SUPABASE_URL: this.standin.url,
        SUPABASE_SERVICE_ROLE_KEY: serviceKey,
        NEXT_PUBLIC_SUPABASE_ANON_KEY: anonKey,
        SUPABASE_JWT_SECRET: jwtSecret,
        SUPABRIDGE_LOG_FORMAT: 'json',
        SUPABRIDGE_LOG_LEVEL: 'debug',
        SUPABRIDGE_OPS_SHUTDOWN_TIMEOUT: '4s',
        SUPABRIDGE_CLUSTER_REDIS: this.redis.url,
        SUPABRIDGE_CLUSTER_LEASE: '2s',
        SUPABRIDGE_PRESENCE_GRACE: '1s',
        SUPABRIDGE_SUPABASE_RECONNECT_MIN: '50ms',
        ...this.env,
      }),
    );
    await this.program.answers(`http://127.0.0.1:${this.port}/readyz`);
  }

  // hears tells whether it hears the others, by its log.
  get hears() {
    const { output } = this.program;
    return output.lastIndexOf('"cluster: joined"') > output.lastIndexOf('"cluster: Redis is away');
  }

  // ends tells when each socket of it ended, by the node's own log: by id, in milliseconds since 1970. Those of a program that was killed ended with it.
  ends() {
    const ends = new Map();
    for (const { output, killedAt } of this.#runs) {
      for (const [line] of output.matchAll(/^\{.*"message":"(dis)?connected"\}$/gm)) {
        const { socket, message, time } = JSON.parse(line);
        ends.set(socket, message === 'disconnected' ? Date.parse(time) : (killedAt ?? Infinity)); // of one that was recovered, the last
      }
    }
    return ends;
  }

  // end has it end by a signal. One that does not is made to say what it is doing, and killed.
  async end(signal) {
    const { program } = this;
    const hangs = setTimeout(() => program.signal('SIGQUIT'), endWait);
    if (signal === 'SIGKILL') program.killedAt = clock();
    const { code, signal: by } = await program.signal(signal);
    clearTimeout(hangs);
    if (signal === 'SIGTERM' && code !== 0) throw new Error(`the node at ${this.port} did not end on SIGTERM (code ${code}, signal ${by}):\n${program.output.slice(-20_000)}`);
  }

  async stop() {
    if (this.program?.running) await this.program.signal('SIGKILL');
  }
}

// lastingPort is a free port that no connection of this machine's takes for its own end while the program that listens there is away.
export async function lastingPort() {
  let [low, high] = [32_768, 60_999];
  try {
    [low, high] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').trim().split(/\s+/).map(Number);
  } catch {
    // not Linux: its default
  }
  const ports = low > 12_000 ? [10_000, low - 1] : [high + 1, 65_535];
  for (let tries = 0; tries < 100; tries++) {
    const port = ports[0] + Math.floor(Math.random() * (ports[1] - ports[0] + 1));
    if (await isFree(port)) return port;
  }
  throw new Error(`no free port among ${ports[0]} to ${ports[1]}`);
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.on('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
