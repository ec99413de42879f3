// Three bridges behind nginx and a Node server with the official adapter, while nodes are restarted in turn and killed: real clients, rows, and events of the
// official emitter. CLIENTS (300) and ROUNDS (1) make it larger. It takes half a minute and a machine to itself: node run.mjs cluster-chaos.mjs
//
// What is counted, over all clients of the bridges:
//   lost        a row that was written, which no event brought to a client in its room
//   duplicated  an event that brought a row, or one of the emitter's, a second time
//   missed      events of the emitter that didn't reach a client of a bridge that was in its room from 1 s before to 3 s after: Redis keeps none for others, and
//               a node that stops takes 2 s to close its connections
// and on the Node server the same of the emitter's events.
import assert from 'node:assert/strict';
import { Agent, createServer } from 'node:http';
import { test } from 'node:test';
import { createAdapter } from '@socket.io/redis-adapter';
import { Emitter } from '@socket.io/redis-emitter';
import { createClient } from 'redis';
import { Server } from 'socket.io';
import { io } from 'socket.io-client';
import { startNginx } from './harness/nginx.mjs';
import { freePort, Program, until } from './harness/program.mjs';
import { startRedis } from './harness/redis.mjs';
import { startStandin } from './harness/standin.mjs';
import { anonKey, jwtSecret, serviceKey, userToken } from './harness/tokens.mjs';

const count = Number(process.env.CLIENTS ?? 300);
const rounds = Number(process.env.ROUNDS ?? 1);
const old = Math.round(count / 10); // clients of the Node server
const after = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Node {
  constructor(port, standin, redis) {
    Object.assign(this, { port, standin, redis });
  }

  async start() {
    this.program = Program.start(['run', '--listen', `127.0.0.1:${this.port}`], {
      SUPABASE_URL: this.standin.url,
      SUPABASE_SERVICE_ROLE_KEY: serviceKey,
      NEXT_PUBLIC_SUPABASE_ANON_KEY: anonKey,
      SUPABASE_JWT_SECRET: jwtSecret,
      SUPABRIDGE_LOG_FORMAT: 'json',
      SUPABRIDGE_OPS_SHUTDOWN_TIMEOUT: '4s',
      SUPABRIDGE_CLUSTER_REDIS: this.redis.url,
      SUPABRIDGE_CLUSTER_LEASE: '2s',
      SUPABRIDGE_PRESENCE_GRACE: '1s',
      SUPABRIDGE_SUPABASE_RECONNECT_MIN: '50ms',
    });
    await this.program.answers(`http://127.0.0.1:${this.port}/readyz`);
  }
}

// Browser is a client of the bridges, which enters its room again where it was not recovered, with the rows it has, as a good frontend does.
class Browser {
  rows = new Map(); // id -> updated_at, by events
  news = new Set();
  duplicated = [];
  in = [];

  constructor(url, i, tenant, room, options) {
    Object.assign(this, { room, tenant });
    this.user = { id: `b0000000-0000-4000-8000-${String(i).padStart(12, '0')}`, name: `user ${i}`, tenant: tenant.id };
    this.opened = new Date(Date.now() - 1000).toISOString();
    this.socket = io(url, { forceNew: true, auth: { token: userToken(this.user) }, reconnectionDelay: 50, reconnectionDelayMax: 500, ...options });
    this.socket.on('connect', () => this.socket.recovered ? this.in.push([Date.now(), Infinity]) : this.enter(this.socket.id));
    this.socket.on('connect_error', (error) => (this.last = `connect_error: ${error.message}: ${error.description?.message}`));
    this.socket.on('disconnect', (reason) => (this.last = `disconnect: ${reason}`));
    this.socket.on('disconnect', () => this.in.length && (this.in.at(-1)[1] = Math.min(this.in.at(-1)[1], Date.now())));
    this.socket.on('new_message', (row) => {
      if (this.rows.has(row.id)) this.duplicated.push(`${row.id} ${Date.now() - this.in.at(-1)?.[0]} ms after entering`);
      this.rows.set(row.id, row.updated_at);
    });
    this.socket.on('news', (n) => {
      if (this.news.has(n)) this.duplicated.push(n);
      this.news.add(n);
    });
  }

  get joined() {
    return this.socket.connected && this.in.at(-1)?.[1] === Infinity;
  }

  async enter(id) {
    while (this.socket.id === id && this.socket.connected) {
      try {
        await this.socket.timeout(10_000).emitWithAck('join_distributor', this.tenant.id);
        const since = [{ id: '', updated_at: this.opened }, ...[...this.rows].map(([id, updated_at]) => ({ id, updated_at }))];
        const answer = await this.socket.timeout(10_000).emitWithAck('join_conversation', { conversationId: this.room, since });
        if (answer.success) {
          if (this.socket.id === id) this.in.push([Date.now(), Infinity]);
          return;
        }
        this.last = JSON.stringify(answer);
      } catch (error) {
        this.last = error.message;
      }
      await after(200);
    }
  }

  // wasIn tells whether it was in its room all the time around an instant.
  wasIn(at) {
    return this.in.some(([from, to]) => from < at - 1000 && to > at + 3000);
  }
}

test(`${count} clients lose nothing while the nodes of a cluster are restarted and killed`, { timeout: 280_000 }, async (t) => {
  const closing = [];
  const closed = (f) => closing.unshift(f);
  t.after(async () => {
    for (const f of closing) await f();
  });
  const standin = await startStandin();
  closed(() => standin.stop());
  const redis = await startRedis();
  closed(() => redis.stop());
  const nodes = [];
  for (let i = 0; i < 3; i++) nodes.push(new Node(await freePort(), standin, redis));
  closed(() => Promise.all(nodes.map((node) => node.program?.stop())));
  await Promise.all(nodes.map((node) => node.start()));
  const nginx = await startNginx(nodes.map(({ port }) => port));
  closed(() => nginx.stop());

  const pub = await createClient({ url: redis.url }).connect();
  const sub = await pub.duplicate().connect();
  const emitter = new Emitter(pub);
  const http = createServer();
  const server = new Server(http, { adapter: createAdapter(pub, sub) });
  await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve));
  server.on('connection', (socket) => socket.join(socket.handshake.auth.room));
  closed(async () => {
    await server.close();
    await pub.quit();
    await sub.quit();
  });

  const [tenant] = await standin.tenants();
  const rooms = tenant.conversations.slice(0, 5);
  const browsers = [];
  for (let i = 0; i < count - old; i++) {
    // Every tenth begins with long-polling, from an address of its own, so that nginx has somebody to keep at a node.
    const options = i % 10 === 0 ? { agent: new Agent({ localAddress: `127.0.1.${1 + (i % 250)}` }) } : { transports: ['websocket'] };
    browsers.push(new Browser(nginx.url, i, tenant, rooms[i % rooms.length], options));
  }
  const olds = [];
  for (let i = 0; i < old; i++) {
    const room = `conversation:${rooms[i % rooms.length]}`;
    const socket = io(`http://127.0.0.1:${http.address().port}`, { forceNew: true, transports: ['websocket'], auth: { room } });
    const one = { socket, room, news: [] };
    socket.on('news', (n) => one.news.push(n));
    olds.push(one);
  }
  closed(() => [...browsers, ...olds].forEach(({ socket }) => socket.disconnect()));
  await until('all clients in their rooms', () => browsers.every(({ joined }) => joined) && olds.every(({ socket }) => socket.connected), 60);

  const sent = []; // of the emitter: { n, room, at }
  const rows = []; // { id, room }
  let stopped = false;
  const load = Promise.all([
    (async () => {
      for (let n = 0; !stopped; n++) {
        const room = rooms[n % rooms.length];
        sent.push({ n, room, at: Date.now() });
        emitter.to(`conversation:${room}`).emit('news', n);
        await after(50);
      }
    })(),
    (async () => {
      for (let n = 0; !stopped; n++) {
        const room = rooms[n % rooms.length];
        rows.push({ id: (await standin.write(room, `row ${n}`)).id, room });
        await after(50);
      }
    })(),
  ]);

  await after(1000);
  for (let round = 0; round < rounds; round++) {
    for (const node of nodes) {
      await node.program.signal('SIGTERM');
      await node.start();
      await after(1000);
    }
    for (const node of nodes) {
      await node.program.signal('SIGKILL');
      await after(1000);
      await node.start();
      await after(1000);
    }
  }
  stopped = true;
  await load;
  await until('all clients back in their rooms', () => browsers.every(({ joined }) => joined), 30).catch((error) => {
    const out = browsers.filter(({ joined }) => !joined);
    throw new Error(`${error.message}: ${out.length} are not, ${out.filter(({ socket }) => socket.connected).length} of them connected: ${out.slice(0, 3).map(({ last, socket }) => `${last}, active ${socket.active}, ${socket.io._reconnecting}`)}`);
  });
  const missing = () => browsers.flatMap((browser, i) => rows.filter((row) => row.room === browser.room && !browser.rows.has(row.id)).map((row) => `${row.id} at ${i}`));
  await until('every row everywhere', () => missing().length === 0, 20).catch(() => {});

  const lost = missing();
  const duplicated = browsers.flatMap((browser) => browser.duplicated);
  let missed = 0;
  let due = 0;
  for (const browser of browsers) {
    for (const { n, room, at } of sent) {
      if (room !== browser.room || !browser.wasIn(at)) continue;
      due++;
      if (!browser.news.has(n)) missed++;
    }
  }
  const oldLost = olds.reduce((sum, one) => sum + sent.filter(({ n, room }) => one.room === `conversation:${room}` && !one.news.includes(n)).length, 0);
  const oldDuplicated = olds.reduce((sum, one) => sum + one.news.length - new Set(one.news).size, 0);
  const events = browsers.reduce((sum, browser) => sum + browser.rows.size + browser.news.size, 0);

  // The last kill: the clients of that node come back elsewhere, but for a tenth of all, who leave at that moment.
  const [watcher] = browsers;
  const leaving = new Set(browsers.filter((_, i) => i % 10 === 5));
  const staying = browsers.filter((browser) => !leaving.has(browser));
  const right = staying.map(({ user }) => user.id).sort().join();
  const killed = Date.now();
  const ended = nodes[0].program.signal('SIGKILL');
  for (const { socket } of leaving) socket.disconnect();
  await ended;
  let took = Infinity;
  await until('presence is right', async () => {
    const online = await watcher.socket.timeout(2000).emitWithAck('get_online_users', tenant.id);
    took = Date.now() - killed;
    return Array.isArray(online) && [...online].sort().join() === right;
  }, 15);

  const summary = `${count - old} clients of 3 bridges, ${old} of a Node server; ${rows.length} rows, ${sent.length} events of the emitter, ${events} events received; ` +
    `lost ${lost.length}, duplicated ${duplicated.length}, missed ${missed} of ${due}; on the Node server lost ${oldLost}, duplicated ${oldDuplicated}; ` +
    `presence right ${took} ms after the last kill`;
  console.log(summary);
  assert.equal(lost.length, 0, `${summary}: ${lost.slice(0, 3)}`);
  assert.equal(duplicated.length, 0, `${summary}: ${duplicated.slice(0, 3)}`);
  assert.equal(missed, 0, summary);
  assert.equal(oldLost + oldDuplicated, 0, summary);
  assert.ok(took < 5000, summary);
});
