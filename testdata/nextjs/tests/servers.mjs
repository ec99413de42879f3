// What the inbox runs against: the Socket.IO server it was written for, or supabridge in its place; and the built app.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { startBridge } from '../../node/harness/bridge.mjs';
import { freePort, until } from '../../node/harness/program.mjs';
import { anonKey, jwtSecret, serviceKey } from '../../node/harness/tokens.mjs';

const publishSecret = 'what the app shows when it publishes';

const folder = fileURLToPath(new URL('..', import.meta.url));

// Server is a program under Node that ends with the test.
class Server {
  #child;
  #output = '';

  constructor(port, args, env) {
    this.url = `http://127.0.0.1:${port}`;
    this.#child = spawn(process.execPath, args, {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: process.env.HOME, NODE_ENV: 'production', NEXT_TELEMETRY_DISABLED: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => (this.#output += text));
    }
    this.ended = new Promise((resolve) => this.#child.on('close', resolve));
    const endWithUs = () => this.#child.kill('SIGKILL');
    process.once('exit', endWithUs);
    void this.ended.then(() => process.off('exit', endWithUs));
    this.args = args;
  }

  async answers(path) {
    await until(`200 from ${this.url}${path}`, async () => {
      if (this.#child.exitCode !== null) throw new Error(`${this.args.join(' ')} has ended:\n${this.#output}`);
      const response = await fetch(this.url + path, { signal: AbortSignal.timeout(2000) });
      await response.arrayBuffer();
      return response.ok;
    });
    return this;
  }

  stop() {
    this.#child.kill('SIGTERM');
    return this.ended;
  }
}

async function startBefore(standin) {
  const port = await freePort();
  const env = {
    PORT: String(port),
    SUPABASE_URL: standin.url,
    SUPABASE_SERVICE_ROLE_KEY: serviceKey,
    SUPABASE_JWT_SECRET: jwtSecret,
    PUBLISH_SECRET: publishSecret,
  };
  return new Server(port, ['before/server.mjs'], env).answers('/readyz');
}

// The bridge is told the origin of the app and the secret of its server; all else is as it comes.
const startAfter = (standin, appUrl) => startBridge(standin, { NEXT_PUBLIC_APP_URL: appUrl, SUPABRIDGE_PUBLISH_SECRET: publishSecret });

// servers are the two, with what each promises about rows that are written while a browser is away: whether it brings
// them afterwards.
export const servers = [
  { name: 'before: plain Socket.IO server', start: startBefore, bringsWhatWasMissed: false },
  { name: 'after: supabridge', start: startAfter, bringsWhatWasMissed: true },
];

const buildId = `${folder}.next/BUILD_ID`;

// startApp serves the one build there is. Where it finds its servers is all that it is told.
export async function startApp(port, standin, socketUrl) {
  if (!existsSync(buildId)) throw new Error('the app is not built: npm run build in testdata/nextjs');
  const env = {
    NEXT_PUBLIC_SUPABASE_URL: standin.url,
    NEXT_PUBLIC_SUPABASE_ANON_KEY: anonKey,
    NEXT_PUBLIC_SOCKET_URL: socketUrl,
    PUBLISH_SECRET: publishSecret,
  };
  const app = new Server(port, ['node_modules/next/dist/bin/next', 'start', '-H', '127.0.0.1', '-p', String(port)], env);
  app.build = readFileSync(buildId, 'utf8');
  return app.answers('/');
}
