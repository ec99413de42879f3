// Three bridges behind nginx and a Node server with the official adapter, while nodes are stopped, killed and started again: real clients, rows, and events of the
// official emitter. It takes half a minute: node run.mjs cluster-chaos.mjs, where
//
//   CLIENTS=300        clients, a tenth of them at the Node server
//   ROUNDS=1           in each of them every node is stopped once and killed once
//   SEED=              of the order in which that happens and of the pauses between; drawn and printed where there is none
//   LOGS=DIR           writes down what happened to each browser, what the nodes logged, and what was done when
//   MODE=pubsub        cluster.mode; without the official emitter, which speaks pubsub, the Node server emits
//   SETTINGS=          more settings of the nodes, as in their environment but for the prefix: CLUSTER_LEASE=3s
//   REDIS_OUTAGE=1     takes Redis away for five seconds in the middle, and restarts a node meanwhile
//
// What is counted, over all clients of the bridges:
//   lost        a row that was written, which no event brought to a client in its room
//   duplicated  an event that brought a row, or one of the emitter's, a second time
//   missed      an event of the emitter that a client did not get which was in its room when it was emitted and either got a later one on the same connection, or was
//               connected for a second after Redis had taken it, by its own or its node's clock. Redis keeps nothing for those who are between two connections.
// and on the Node server the same of the emitter's events. tail is the longest that Redis had an event before a connection ended on which it did not come.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { io } from 'socket.io-client';
import { ClusterNode, lastingPort } from './harness/cluster-node.mjs';
import { clock, Frontend, stamp } from './harness/frontend.mjs';
import { startNginx } from './harness/nginx.mjs';
import { startNodeServer } from './harness/node-server.mjs';
import { until } from './harness/program.mjs';
import { startRedis } from './harness/redis.mjs';
import { startStandin } from './harness/standin.mjs';

const count = Number(process.env.CLIENTS ?? 300);
const rounds = Number(process.env.ROUNDS ?? 1);
const seed = Number(process.env.SEED || Math.floor(Math.random() * 1_000_000));
const logs = process.env.LOGS;
const mode = process.env.MODE || 'pubsub';
const settings = Object.fromEntries((process.env.SETTINGS ?? '').split(/\s+/).filter(Boolean).map((setting) => `SUPABRIDGE_${setting}`.split(/=(.*)/s)));
const withOutage = Boolean(process.env.REDIS_OUTAGE);
const old = Math.round(count / 10); // clients of the Node server
const carried = 1000; // ms that an event may be on its way from Redis through a node that is killed and whose machine is busy
const outageTime = 5000; // ms
const after = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// random gives numbers from 0 to 1 that the seed decides (mulberry32).
function random(state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// plan is what is done to which node in a round, in an order of chance, how long a killed one is away and how long the next waits.
function plan(nodes, draw) {
  const steps = nodes.flatMap((_, node) => [{ node, signal: 'SIGTERM', away: 0 }, { node, signal: 'SIGKILL', away: Math.round(1500 * draw()) }]);
  for (let i = steps.length - 1; i > 0; i--) {
    const j = Math.floor(draw() * (i + 1));
    [steps[i], steps[j]] = [steps[j], steps[i]];
  }
  return steps.map((step) => ({ ...step, pause: Math.round(200 + 1300 * draw()) }));
}

// reckon looks for events of the emitter that did not come to a client that was in its room. sent is in the order of emitting; ends tells when a socket's end was.
function reckon(frontends, sent, ends) {
  const result = { due: 0, missed: [], tail: 0 };
  const inRoom = new Map();
  for (const one of sent) inRoom.set(one.room, [...(inRoom.get(one.room) ?? []), one]);
  for (const frontend of frontends) {
    for (const { from, to, id } of frontend.stays) {
      const during = (inRoom.get(frontend.room) ?? []).filter(({ at }) => at > from && at < to);
      const last = during.findLastIndex(({ n }) => frontend.news.get(n) <= to);
      const end = Math.min(to, ends.get(id) ?? Infinity); // whoever noticed first
      during.forEach(({ n, at, taken }, i) => {
        if (frontend.news.has(n)) return result.due++;
        if (i > last && taken > end - carried) return (result.tail = Math.max(result.tail, end - taken));
        result.due++;
        result.missed.push(`event ${n} at browser ${frontend.i}, ${Math.round(at - from)} ms after entering, ${Math.round(end - taken)} ms before its end`);
      });
    }
  }
  return result;
}

test(`${count} clients lose nothing while the nodes of a cluster are stopped and killed (seed ${seed})`, { timeout: 280_000 }, async (t) => {
  const closing = [];
  const closed = (f) => closing.unshift(f);
  t.after(async () => {
    for (const f of closing) await f();
  });
  const sequence = [];
  const did = (text) => sequence.push(`${stamp(clock())} ${text}`);
  const standin = await startStandin();
  closed(() => standin.stop());
  const redis = await startRedis();
  closed(() => redis.stop());
  const nodes = [];
  for (let i = 0; i < 3; i++) nodes.push(new ClusterNode(await lastingPort(), standin, redis, { SUPABRIDGE_CLUSTER_MODE: mode, ...settings }));
  closed(() => Promise.all(nodes.map((node) => node.stop())));
  await Promise.all(nodes.map((node) => node.start()));
  const nginx = await startNginx(nodes.map(({ port }) => port));
  closed(() => nginx.stop());

  const server = await startNodeServer(redis, mode);
  closed(() => server.stop());

  const [tenant] = await standin.tenants();
  const rooms = tenant.conversations.slice(0, 5);
  const browsers = [];
  for (let i = 0; i < count - old; i++) {
    // Every tenth begins with long-polling, from an address of its own, so that nginx has somebody to keep at a node.
    const options = i % 10 === 0 ? { agent: new Agent({ localAddress: `127.0.1.${1 + (i % 250)}` }) } : { transports: ['websocket'] };
    browsers.push(new Frontend(nginx.url, i, tenant, rooms[i % rooms.length], { journal: Boolean(logs), ...options }));
  }
  if (logs) closed(() => writeLogs(browsers, nodes, sequence));
  const olds = [];
  for (let i = 0; i < old; i++) {
    const room = rooms[i % rooms.length];
    const socket = io(server.url, { forceNew: true, transports: ['websocket'], auth: { room: `conversation:${room}` } });
    const one = { socket, room, news: [] };
    socket.on('news', (n) => one.news.push(n));
    olds.push(one);
  }
  closed(() => [...browsers, ...olds].forEach(({ socket }) => socket.disconnect()));
  const allIn = async (what, seconds) => {
    await until(what, () => browsers.every(({ joined }) => joined) && olds.every(({ socket }) => socket.connected), seconds).catch((error) => {
      const out = browsers.filter(({ joined }) => !joined);
      throw new Error(`${error.message}: ${out.length} are not\n${out.slice(0, 5).map(({ state }) => state).join('\n')}`);
    });
  };
  await allIn('all clients in their rooms', 60);

  const sent = []; // of the emitter: { n, room, at, taken }, when it was emitted and when Redis had taken it
  const rows = []; // { id, room, at }
  let stopped = false;
  let quiet = false; // nothing is emitted: nobody could hear it
  closed(() => (stopped = true));
  const emit = async () => {
    const one = { n: sent.length, room: rooms[sent.length % rooms.length], at: clock(), taken: Infinity };
    sent.push(one);
    await server.emit(`conversation:${one.room}`, 'news', one.n);
    one.taken = clock();
    did(`emitted ${one.n} at ${stamp(one.at)}`);
  };
  const load = Promise.all([
    (async () => {
      for (; !stopped; await after(50)) if (!quiet) emit().catch((error) => did(`an event could not be emitted: ${error.message}`));
    })(),
    (async () => {
      for (let n = 0; !stopped; n++) {
        const room = rooms[n % rooms.length];
        const row = await standin.write(room, `row ${n}`);
        rows.push({ id: row.id, room, at: clock() });
        did(`wrote ${row.id} ${row.updated_at} to ${room}`);
        await after(50);
      }
    })(),
  ]);

  load.catch(() => {}); // it is awaited below

  // presence waits until those at every node see just these users, and gives the time since an instant.
  const presence = async (watchers, users, since) => {
    const right = users.map(({ user }) => user.id).sort().join();
    const sees = async ({ socket }) => {
      const online = await socket.timeout(2000).emitWithAck('get_online_users', tenant.id);
      return Array.isArray(online) && [...online].sort().join() === right;
    };
    await until('presence is right', async () => (await Promise.all(watchers.slice(0, 8).map(sees))).every(Boolean), 15).catch(() => {}); // the time says it
    return Math.round(clock() - since);
  };
  // outage takes Redis away for a while, and sees that nobody at one node is the worse for it.
  const outage = async () => {
    quiet = true;
    await after(200); // so that what was emitted has come
    did('Redis is killed');
    await redis.kill();
    const away = clock();
    await after(500);
    const typists = browsers.filter(({ joined, room }) => joined && room === rooms[0]); // more than there are nodes, so that two are at one
    await Promise.all(typists.map(({ socket, room }) => socket.timeout(2000).emitWithAck('typing_start', room)));
    await until('sign of typing from the same node', () => typists.some(({ typing }) => typing.size > 0), 2);
    await nodes[1].end('SIGTERM');
    await nodes[1].start();
    did('node 1 is ready without Redis');
    await after(away + outageTime - clock());
    const written = rows.filter(({ at }) => at > away && at < clock() - 1000);
    const waiting = browsers.flatMap((browser) => written.filter(({ id, room, at }) => room === browser.room && browser.joined && browser.stays.at(-1).from < at && !browser.rows.has(id)));
    assert.ok(written.length > 20 && waiting.length === 0, `while Redis was away ${written.length} rows were written, and ${waiting.length} did not come within a second`);
    await redis.start();
    const back = clock();
    did('Redis is back');
    await allIn('all clients in their rooms after the outage', 30);
    const took = await presence(browsers, browsers, back);
    did(`presence is right ${took} ms after that`);
    assert.ok(took < 5000, `presence was right ${took} ms after Redis was back`);
    await until('all nodes hear each other', () => nodes.every(({ hears }) => hears), 10);
    await after(1000); // the Node server too
    quiet = false;
  };

  await after(1000);
  const draw = random(seed);
  for (let round = 0; round < rounds; round++) {
    const steps = plan(nodes, draw);
    for (const [i, { node, signal, away, pause }] of steps.entries()) {
      if (withOutage && i === steps.length / 2) await outage();
      did(`${signal} to node ${node}`);
      await nodes[node].end(signal);
      did(`node ${node} has ended`);
      await after(away);
      await nodes[node].start();
      did(`node ${node} is ready`);
      await after(pause);
    }
  }
  stopped = true;
  await load;
  did('the load has ended');
  await allIn('all clients back in their rooms', 30);
  const missing = () => browsers.flatMap((browser) => rows.filter((row) => row.room === browser.room && !browser.rows.has(row.id)).map((row) => `row ${row.id} at browser ${browser.i}`));
  await Promise.all(rooms.map(emit)); // the last of each room, which has come when all before it have
  const lasts = new Map(sent.slice(-rooms.length).map(({ n, room }) => [room, n]));
  await until('every row and the last event everywhere', () => missing().length === 0 && browsers.every(({ room, news }) => news.has(lasts.get(room))) && olds.every(({ room, news }) => news.includes(lasts.get(room))), 20).catch(() => {}); // what is missing is counted

  const lost = missing();
  const { due, missed, tail } = reckon(browsers, sent, new Map(nodes.flatMap((node) => [...node.ends()])));
  const oldLost = olds.reduce((sum, one) => sum + sent.filter(({ n, room }) => one.room === room && !one.news.includes(n)).length, 0);
  const oldDuplicated = olds.reduce((sum, one) => sum + one.news.length - new Set(one.news).size, 0);
  const events = browsers.reduce((sum, browser) => sum + browser.rows.size + browser.news.size, 0);

  // The last kill: the clients of that node come back elsewhere, but for a tenth of all, who leave at that moment.
  const leaving = new Set(browsers.filter(({ i }) => i % 10 === 5));
  const staying = browsers.filter((browser) => !leaving.has(browser));
  const killed = clock();
  did('SIGKILL to node 0, and a tenth leaves');
  const ended = nodes[0].end('SIGKILL');
  for (const { socket } of leaving) socket.disconnect();
  await ended;
  const took = await presence(staying, staying, killed);
  const duplicated = browsers.flatMap((browser) => browser.duplicated);

  const summary = `${count - old} clients of 3 bridges, ${old} of a Node server; ${rows.length} rows, ${sent.length} events of the emitter, ${events} events received; ${browsers.reduce((sum, { recovered }) => sum + recovered, 0)} times recovered; ` +
    `lost ${lost.length}, duplicated ${duplicated.length}, missed ${missed.length} of ${due}, tail ${Math.round(tail)} ms; on the Node server lost ${oldLost}, duplicated ${oldDuplicated}; ` +
    `presence right ${took} ms after the last kill`;
  console.log(summary);
  assert.equal(lost.length, 0, `${summary}: ${lost.slice(0, 5).join('; ')}`);
  assert.equal(duplicated.length, 0, `${summary}: ${duplicated.slice(0, 5).join('; ')}`);
  assert.equal(missed.length, 0, `${summary}: ${missed.slice(0, 5).join('; ')}`);
  assert.equal(oldLost + oldDuplicated, 0, summary);
  assert.ok(took < 5000, summary);
});

// writeLogs writes a file for each browser, with the node that each of its connections was to, one for each node, and one of what was done.
function writeLogs(browsers, nodes, sequence) {
  mkdirSync(logs, { recursive: true });
  const at = new Map(); // socket -> node
  nodes.forEach((node, i) => {
    for (const [, id] of node.output.matchAll(/"socket":"([^"]+)"[^\n]*"message":"connected"/g)) at.set(id, i);
    writeFileSync(join(logs, `node-${i}.log`), node.output);
  });
  for (const { i, journal } of browsers) {
    const lines = journal.map((line) => line.replace(/(connected as )(\S+)/, (_, text, id) => `${text}${id} at node ${at.get(id)}`));
    writeFileSync(join(logs, `browser-${i}.log`), `${lines.join('\n')}\n`);
  }
  writeFileSync(join(logs, 'sequence.log'), `${sequence.join('\n')}\n`);
}
