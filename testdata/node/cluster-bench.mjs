// Three bridges against three Node servers with the official adapter, on one Redis each, in turn: events of the official emitter to a room with clients at all
// three. Prints, for each round and as medians: events delivered a second, CPU time of the servers for each, and the time from emit to arrival at a steady pace.
//
//	node cluster-bench.mjs [rounds 5] [clients 60] [events 2000]
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Emitter } from '@socket.io/redis-emitter';
import { createClient } from 'redis';
import { io } from 'socket.io-client';
import { binary, freePort, until } from './harness/program.mjs';
import { startRedis } from './harness/redis.mjs';
import { startStandin } from './harness/standin.mjs';
import { anonKey, jwtSecret, serviceKey, userToken } from './harness/tokens.mjs';

const [rounds = 5, clients = 60, events = 2000] = process.argv.slice(2).map(Number);
const payload = 'x'.repeat(200);
const tick = Number(execFileSync('getconf', ['CLK_TCK']));
const cpu = (pid) => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / tick;
};
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const after = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const standin = await startStandin();
const [tenant] = await standin.tenants();
const room = tenant.conversations[0];

async function side(start) {
  const redis = await startRedis();
  const ports = await Promise.all([freePort(), freePort(), freePort()]);
  const servers = ports.map((port) => start(port, redis.url));
  await until('the servers', async () => (await Promise.all(ports.map((port) => fetch(`http://127.0.0.1:${port}/socket.io/?EIO=4&transport=polling`)))).every((r) => r.ok));
  const pub = await createClient({ url: redis.url }).connect();
  const emitter = new Emitter(pub);
  const state = { got: 0, latencies: null };
  const sockets = [];
  for (let i = 0; i < clients; i++) {
    const user = { id: `b0000000-0000-4000-8000-${String(i).padStart(12, '0')}`, name: `user ${i}`, tenant: tenant.id };
    const socket = io(`http://127.0.0.1:${ports[i % 3]}`, { forceNew: true, transports: ['websocket'], auth: { token: userToken(user) } });
    socket.on('m', ({ at }) => (state.got++, state.latencies?.push(performance.now() - at)));
    sockets.push(socket);
    await new Promise((resolve) => socket.once('connect', resolve));
    await until('the room', async () => (await socket.timeout(5000).emitWithAck('join_conversation', { conversationId: room })).success);
  }
  await after(500);
  const used = () => servers.reduce((sum, { pid }) => sum + cpu(pid), 0);
  return {
    async round() {
      state.got = 0;
      const [began, before] = [performance.now(), used()];
      for (let i = 0; i < events; i++) emitter.to(`conversation:${room}`).emit('m', { at: 0, payload });
      await until('all events', () => state.got === events * clients, 120);
      const rate = (events * clients) / ((performance.now() - began) / 1000);
      const cost = ((used() - before) / (events * clients)) * 1e6;
      state.latencies = [];
      for (let i = 0; i < 100; i++) {
        emitter.to(`conversation:${room}`).emit('m', { at: performance.now(), payload });
        await after(10);
      }
      await until('all events', () => state.latencies.length === 100 * clients, 60);
      const latency = median(state.latencies);
      state.latencies = null;
      return { rate, cost, latency };
    },
    async stop() {
      for (const socket of sockets) socket.disconnect();
      await pub.quit();
      for (const server of servers) server.kill('SIGKILL');
      await redis.stop();
    },
  };
}

const run = (command, args, env = {}) => spawn(command, args, { stdio: 'ignore', env: { PATH: process.env.PATH, ...env } });
const sides = {
  node: await side((port, redis) => run(process.execPath, ['cluster-bench-server.mjs', port, redis])),
  supabridge: await side((port, redis) =>
    run(binary, ['run', '--listen', `127.0.0.1:${port}`], {
      SUPABASE_URL: standin.url,
      SUPABASE_SERVICE_ROLE_KEY: serviceKey,
      NEXT_PUBLIC_SUPABASE_ANON_KEY: anonKey,
      SUPABASE_JWT_SECRET: jwtSecret,
      SUPABRIDGE_LOG_LEVEL: 'error',
      SUPABRIDGE_PRESENCE_ENABLED: 'false',
      SUPABRIDGE_CLUSTER_REDIS: redis,
    }),
  ),
};
const results = { node: [], supabridge: [] };
const show = (name, { rate, cost, latency }) => console.log(`${name.padEnd(11)} ${rate.toFixed(0).padStart(8)} events/s  ${cost.toFixed(2).padStart(7)} µs CPU each  ${latency.toFixed(2).padStart(7)} ms`);
for (let i = 0; i <= rounds; i++) {
  for (const name of i % 2 ? ['node', 'supabridge'] : ['supabridge', 'node']) {
    const result = await sides[name].round();
    if (i === 0) continue; // to warm up
    results[name].push(result);
    show(name, result);
  }
}
const medians = Object.fromEntries(Object.entries(results).map(([name, list]) => [name, Object.fromEntries(['rate', 'cost', 'latency'].map((key) => [key, median(list.map((r) => r[key]))]))]));
console.log('medians');
for (const name in medians) show(name, medians[name]);
const { node, supabridge } = medians;
console.log(`ratio to Node: ${(supabridge.rate / node.rate).toFixed(2)}× the rate, ${(node.cost / supabridge.cost).toFixed(2)}× less CPU, ${(node.latency / supabridge.latency).toFixed(2)}× less latency`);
await Promise.all(Object.values(sides).map((s) => s.stop()));
await standin.stop();
process.exit(0);
