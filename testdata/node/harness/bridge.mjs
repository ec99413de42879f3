// `supabridge run` against a stand-in, and the real socket.io-client to talk to it.
import { io } from 'socket.io-client';
import { freePort, Program } from './program.mjs';
import { anonKey, jwtSecret, serviceKey } from './tokens.mjs';

// startBridge gives a bridge whose feed is live.
export async function startBridge(standin, env = {}, flags = []) {
  const bridge = await launchBridge(standin, env, flags);
  await bridge.ready();
  return bridge;
}

// launchBridge does not wait for anything.
export async function launchBridge(standin, env = {}, flags = []) {
  return new Bridge(await freePort(), standin, env, flags);
}

class Bridge {
  #clients = [];

  constructor(port, standin, env, flags) {
    this.url = `http://127.0.0.1:${port}`;
    this.program = Program.start(['run', '--listen', `127.0.0.1:${port}`, ...flags], {
      SUPABASE_URL: standin.url,
      SUPABASE_SERVICE_ROLE_KEY: serviceKey,
      NEXT_PUBLIC_SUPABASE_ANON_KEY: anonKey,
      SUPABASE_JWT_SECRET: jwtSecret,
      SUPABRIDGE_LOG_FORMAT: 'json',
      SUPABRIDGE_OPS_SHUTDOWN_TIMEOUT: '2s',
      SUPABRIDGE_SUPABASE_RECONNECT_MIN: '50ms',
      SUPABRIDGE_SUPABASE_RECONNECT_MAX: '300ms',
      ...env,
    });
  }

  ready() {
    return this.program.answers(`${this.url}/readyz`);
  }

  // connect gives a Client; options are those of socket.io-client, whose defaults stand otherwise.
  connect(token, options = {}) {
    const client = new Client(io(this.url, { forceNew: true, ...(token ? { auth: { token } } : {}), ...options }));
    this.#clients.push(client);
    return client;
  }

  disconnectClients() {
    for (const client of this.#clients.splice(0)) client.close();
  }

  async stop() {
    this.disconnectClients();
    return this.program.stop();
  }
}

// Client keeps every event a socket.io-client receives, in order, so that a test can wait for one and later say which
// others did not come: an event that was sent before a marker arrives before it on the same connection.
export class Client {
  events = [];
  #waiting = new Set();

  constructor(socket) {
    this.socket = socket;
    socket.onAny((name, ...args) => this.#keep({ name, args }));
    socket.on('connect', () => this.#keep({ name: 'connect', args: [] }));
    socket.on('connect_error', (error) => this.#keep({ name: 'connect_error', args: [error] }));
    socket.on('disconnect', (reason) => this.#keep({ name: 'disconnect', args: [reason] }));
  }

  #keep(event) {
    this.events.push(event);
    for (const look of this.#waiting) look();
  }

  // next takes the first event of that name, among those kept and to come, whose first argument satisfies where.
  next(name, where = () => true, seconds = 10) {
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = this.events.find((event) => !event.taken && event.name === name && where(event.args[0]));
        if (!found) return;
        found.taken = true;
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve(found.args[0]);
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        reject(new Error(`no such ${name} within ${seconds} s; came: ${this.events.map((event) => event.name).join(', ')}`));
      }, seconds * 1000);
      this.#waiting.add(look);
      look();
    });
  }

  // ask emits an event and gives back its acknowledgement.
  ask(name, ...args) {
    return this.socket.timeout(10_000).emitWithAck(name, ...args);
  }

  tell(name, ...args) {
    this.socket.emit(name, ...args);
  }

  close() {
    this.socket.disconnect();
  }
}
