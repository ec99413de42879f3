// The official packages, to be told by another program what to do: each line of the input is {id, code}, JavaScript of an async function, and is
// answered by a line {id, value} or {id, error}. In its scope: serve(kind, redis) makes a Socket.IO server with an official adapter, emitter(redis) the
// official emitter, connect(name, url, options) a socket.io-client whose events are kept, next(name, event) takes the first of them. All
// are kept by name in servers, clients.
import { createInterface } from 'node:readline';
import { createServer } from 'node:http';
import { createClient, createCluster } from 'redis';
import { Server } from 'socket.io';
import { io as dial } from 'socket.io-client';
import { createAdapter, createShardedAdapter } from '@socket.io/redis-adapter';
import { createAdapter as createStreamsAdapter } from '@socket.io/redis-streams-adapter';
import { Emitter } from '@socket.io/redis-emitter';

const adapters = {
  pubsub: (pub, sub) => createAdapter(pub, sub),
  sharded: (pub, sub) => createShardedAdapter(pub, sub),
  cluster: (pub, sub) => createShardedAdapter(pub, sub),
  static: (pub, sub) => createShardedAdapter(pub, sub, { subscriptionMode: 'static' }),
  streams: (pub) => createStreamsAdapter(pub),
};

// The addresses of a Redis Cluster are given as a list.
const redisClient = async (url) => {
  const client = Array.isArray(url) ? createCluster({ rootNodes: url.map((url) => ({ url })) }) : createClient({ url });
  client.on('error', () => {});
  await client.connect();
  return client;
};

const scope = {
  servers: {},
  clients: {},

  async serve(kind, redis, options = {}) {
    const pub = await redisClient(redis);
    const sub = pub.duplicate();
    sub.on('error', () => {});
    await sub.connect();
    const http = createServer();
    const server = new Server(http, { adapter: adapters[kind](pub, sub), ...options });
    await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve));
    scope.servers[kind] = server;
    return `http://127.0.0.1:${http.address().port}`;
  },

  async emitter(redis) {
    return new Emitter(await redisClient(redis));
  },

  async connect(name, url, options = {}) {
    const socket = dial(url, { forceNew: true, transports: ['websocket'], ...options });
    const events = [];
    scope.clients[name] = { socket, events };
    socket.onAny((event, ...args) => events.push({ event, args }));
    await new Promise((resolve, reject) => {
      socket.on('connect', resolve);
      socket.on('connect_error', reject);
    });
    return socket.id;
  },

  // next waits for an event and gives its arguments, bytes as {bytes: [...]}.
  async next(name, event, ms = 10_000) {
    const { events } = scope.clients[name];
    for (const deadline = Date.now() + ms; Date.now() < deadline; ) {
      const i = events.findIndex((e) => e.event === event);
      if (i >= 0) return plain(events.splice(i, 1)[0].args);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error(`${name} got no ${event}; it got ${JSON.stringify(events)}`);
  },

  plain,
};

function plain(value) {
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return { bytes: [...new Uint8Array(value.buffer ?? value, value.byteOffset ?? 0, value.byteLength)] };
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, plain(v)]));
  return value;
}

const AsyncFunction = (async () => {}).constructor;
createInterface({ input: process.stdin })
  .on('line', async (line) => {
    const { id, code } = JSON.parse(line);
    let answer;
    try {
      answer = { id, value: plain(await new AsyncFunction(...Object.keys(scope), code)(...Object.values(scope))) ?? null };
    } catch (error) {
      answer = { id, error: `${error?.stack ?? error}` };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  })
  .on('close', () => process.exit(0));
