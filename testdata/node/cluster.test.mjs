// Several bridges that work as one by Redis, with the official emitter and a Node server with the official adapter beside them.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, afterEach, before, describe, test } from 'node:test';
import { createAdapter } from '@socket.io/redis-adapter';
import { Emitter } from '@socket.io/redis-emitter';
import { createClient } from 'redis';
import { Server } from 'socket.io';
import { io } from 'socket.io-client';
import { Client, startBridge } from './harness/bridge.mjs';
import { until } from './harness/program.mjs';
import { startRedis } from './harness/redis.mjs';
import { startStandin } from './harness/standin.mjs';

const by = (user, more = {}) => (payload) =>
  payload.userId === user.id && Object.entries(more).every(([name, value]) => payload[name] === value);

describe('a cluster', () => {
  let standin, redis, ours, open, nodes;
  const secret = 'a secret of sixteen bytes';
  const settings = () => ({
    SUPABRIDGE_CLUSTER_REDIS: redis.url,
    SUPABRIDGE_CLUSTER_LEASE: '1500ms',
    SUPABRIDGE_PRESENCE_GRACE: '500ms',
    SUPABRIDGE_TYPING_TIMEOUT: '60s',
    SUPABRIDGE_TYPING_REPEAT: '0s',
    SUPABRIDGE_PUBLISH_SECRET: secret,
  });
  const add = async () => {
    const node = await startBridge(standin, settings());
    nodes.push(node);
    return node;
  };
  // said tells whether a node has logged a message since it had logged n lines.
  const said = (node, message, n = 0) => node.program.lines.slice(n).some((line) => line.message === message);
  const enter = async (node, user) => {
    const client = node.connect(user.token, { transports: ['websocket'] });
    await client.next('connect');
    assert.equal((await client.ask('join_distributor', ours.id)).success, true);
    assert.equal((await client.ask('join_conversation', open)).success, true);
    return client;
  };
  const online = async (client) => [...(await client.ask('get_online_users'))].sort();
  // alone enters once nobody of an earlier test is online any more.
  const alone = async (node, user) => {
    const client = await enter(node, user);
    await until('nobody else', async () => (await online(client)).length === 1);
    client.events = [];
    return client;
  };
  const count = (client, name, where) => client.events.filter((event) => event.name === name && where(event.args[0])).length;

  before(async () => {
    standin = await startStandin();
    redis = await startRedis();
    [ours] = await standin.tenants();
    [open] = ours.conversations;
    nodes = [];
    await add();
    await add();
    await until('both to know each other', () => nodes.every((node) => said(node, 'cluster: a node came')));
  });
  after(async () => {
    for (const node of nodes) await node.stop();
    await redis?.stop();
    await standin?.stop();
  });
  afterEach(() => {
    for (const node of nodes) node.disconnectClients();
  });

  test('a row reaches the browsers of every node once', async () => {
    const [ana, ben] = ours.users;
    const clients = [await enter(nodes[0], ana), await enter(nodes[1], ben)];
    const rows = [];
    for (let i = 0; i < 10; i++) rows.push(await standin.write(open, `row ${i}`));
    for (const client of clients) {
      for (const row of rows) await client.next('new_message', ({ id }) => id === row.id);
      for (const row of rows) assert.equal(count(client, 'new_message', ({ id }) => id === row.id), 1);
    }
  });

  test('typing and having read cross to the other node, in the style its browsers hear', async () => {
    const [ana, ben, carla] = ours.users;
    const [first, second] = [await enter(nodes[0], ana), await enter(nodes[1], ben)];
    const third = nodes[1].connect(carla.token); // which hears colons, as its first event tells
    await third.next('connect');
    assert.equal((await third.ask('conversation:join', open)).success, true);
    first.tell('typing_start', { conversationId: open });
    await second.next('user_typing', by(ana, { isTyping: true, conversationId: open }));
    await third.next('typing:start', by(ana));
    first.tell('typing_stop', { conversationId: open });
    await second.next('user_typing', by(ana, { isTyping: false }));
    assert.equal(count(third, 'user_typing', by(ana)), 0, 'each browser hears one style');
    first.tell('typing_start', { conversationId: open });
    await second.next('user_typing', by(ana, { isTyping: true }));
    first.close(); // which stops it
    await second.next('user_typing', by(ana, { isTyping: false }));
    second.tell('mark_read', { conversationId: open, messageIds: ['m1'] });
    const back = await enter(nodes[0], ana);
    second.tell('mark_read', { conversationId: open, messageIds: ['m2'] });
    await back.next('messages_read', (payload) => payload.messageIds[0] === 'm2');
  });

  test('a user is online while any node has a socket of theirs', async () => {
    const [ana, ben] = ours.users;
    const watcher = await alone(nodes[0], ana);
    const here = await enter(nodes[0], ben);
    await watcher.next('user_online', by(ben));
    const there = await enter(nodes[1], ben);
    assert.deepEqual(await online(there), [ana.id, ben.id].sort());
    here.close();
    const visit = await enter(nodes[1], ours.users[2]);
    visit.close();
    await watcher.next('user_offline', by(ours.users[2])); // after the end of the grace that began before
    assert.equal(count(watcher, 'user_offline', by(ben)), 0);
    there.close();
    await watcher.next('user_offline', by(ben));
    assert.deepEqual(await online(watcher), [ana.id]);
  });

  test('the emitter, a Node server and publishing reach the browsers of every node once', async () => {
    const [ana, ben] = ours.users;
    const clients = [await enter(nodes[0], ana), await enter(nodes[1], ben)];
    const pub = await createClient({ url: redis.url }).connect();
    const sub = await pub.duplicate().connect();
    const http = createServer();
    const server = new Server(http, { adapter: createAdapter(pub, sub) });
    await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve));
    server.on('connection', (socket) => socket.join(`conversation:${open}`));
    const old = new Client(io(`http://127.0.0.1:${http.address().port}`, { forceNew: true, transports: ['websocket'] }));
    try {
      await old.next('connect');
      clients.push(old);
      await until('three servers', async () => (await server.of('/').adapter.serverCount()) === 3);
      const room = `conversation:${open}`;
      new Emitter(pub).to(room).emit('news', 'emitter');
      server.to(room).emit('news', 'server');
      const response = await fetch(`${nodes[0].url}/api/publish`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${secret}` },
        body: JSON.stringify({ event: 'news', rooms: [room], data: 'published' }),
      });
      assert.equal(response.status, 202);
      assert.deepEqual(await response.json(), { reached: 2 }, 'the browsers of both bridges');
      for (const client of clients) {
        for (const from of ['emitter', 'server', 'published']) await client.next('news', (payload) => payload === from);
        assert.equal(client.events.filter((event) => event.name === 'news').length, 3);
      }
      const seen = (await server.in(room).fetchSockets()).map(({ id }) => id).sort();
      assert.deepEqual(seen, clients.map(({ socket }) => socket.id).sort());

      const gone = new Promise((resolve) => clients[1].socket.once('disconnect', resolve));
      const answer = await fetch(`${nodes[0].url}/api/disconnect`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${secret}` },
        body: JSON.stringify({ user: ben.id }),
      });
      assert.deepEqual(await answer.json(), { reached: 1 }, 'the one at the other node');
      await gone;
    } finally {
      old.close();
      await server.close();
      await pub.quit();
      await sub.quit();
    }
  });

  test('the users of a node that was killed go offline, and another node leads', async () => {
    const [ana, ben] = ours.users;
    const watcher = await alone(nodes[0], ana);
    const third = await add();
    await enter(third, ben);
    await watcher.next('user_online', by(ben));
    const killed = Date.now();
    await third.program.signal('SIGKILL');
    third.disconnectClients();
    nodes.pop();
    const response = await fetch(`${nodes[0].url}/api/publish`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${secret}` },
      body: JSON.stringify({ event: 'news', rooms: [`conversation:${open}`], data: 'x' }),
    });
    const { reached, missing_nodes: missing = 0 } = await response.json();
    assert.equal(reached, 1);
    assert.ok(missing <= 1, 'the dead node, unless it is noticed already');
    await watcher.next('user_offline', by(ben));
    assert.ok(Date.now() - killed < 5000, `offline after ${Date.now() - killed} ms`);
    assert.deepEqual(await online(watcher), [ana.id]);

    const leader = nodes.findIndex((node) => said(node, 'cluster: this node leads'));
    const [other] = nodes.filter((_, i) => i !== leader);
    const lines = other.program.lines.length;
    const then = Date.now();
    await nodes[leader].program.signal('SIGKILL');
    nodes[leader].disconnectClients();
    nodes.splice(leader, 1);
    await until('another leader', () => said(other, 'cluster: this node leads', lines));
    assert.ok(Date.now() - then < 5000, `led after ${Date.now() - then} ms`);
    await add();
    await until('both to know each other', () => nodes.every((node) => said(node, 'cluster: a node came')));
  });

  test('a node that stops in order takes its users along at once', async () => {
    const [ana, ben] = ours.users;
    const watcher = await alone(nodes[0], ana);
    const third = await add();
    await enter(third, ben);
    await watcher.next('user_online', by(ben));
    third.disconnectClients();
    await third.stop();
    nodes.pop();
    await watcher.next('user_offline', by(ben));
    await until('the farewell', () => said(nodes[0], 'cluster: a node left'));
  });

  test('without Redis each node serves its own browsers, and all is made good when it is back', async () => {
    const [ana, ben, carla] = ours.users;
    const [first, second] = [await alone(nodes[0], ana), await enter(nodes[1], ben)];
    await until('both online at both', async () => (await online(first)).length === 2 && (await online(second)).length === 2);
    const lines = nodes.map((node) => node.program.lines.length);
    await redis.kill();
    await until('both notice', () => nodes.every((node, i) => said(node, 'cluster: Redis is away; this node goes on with its own browsers', lines[i])));
    const row = await standin.write(open, 'meanwhile');
    for (const client of [first, second]) await client.next('new_message', ({ id }) => id === row.id);
    const neighbour = await enter(nodes[0], carla);
    neighbour.tell('typing_start', { conversationId: open });
    await first.next('user_typing', by(carla, { isTyping: true }));
    assert.deepEqual(await online(second), [ana.id, ben.id].sort(), 'who was online stays so');
    second.close();
    await redis.start();
    await first.next('user_offline', by(ben));
    const third = await enter(nodes[1], ben);
    for (const client of [first, third]) {
      await until('presence is right', async () => `${await online(client)}` === `${[ana.id, ben.id, carla.id].sort()}`);
    }
  });
});
