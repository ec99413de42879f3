// A client that leaves one bridge and comes back to another is recovered there (cluster.mode: streams, cluster.changes: leader), with the rows that it missed.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { startBridge } from './harness/bridge.mjs';
import { until } from './harness/program.mjs';
import { startRedis } from './harness/redis.mjs';
import { startStandin } from './harness/standin.mjs';

describe('recovery at another node', () => {
  let standin, redis, ours, open, nodes, left;
  const start = () => startBridge(standin, {
    SUPABRIDGE_CLUSTER_REDIS: redis.url,
    SUPABRIDGE_CLUSTER_MODE: 'streams',
    SUPABRIDGE_CLUSTER_CHANGES: 'leader',
    SUPABRIDGE_CLUSTER_LEASE: '1s',
    SUPABRIDGE_PRESENCE_GRACE: '500ms',
    SUPABRIDGE_TYPING_TIMEOUT: '60s',
    SUPABRIDGE_TYPING_REPEAT: '0s',
  });
  const enter = async (node, user) => {
    const client = node.connect(user.token, { transports: ['websocket'], reconnectionDelay: 100, reconnectionDelayMax: 200 });
    await client.next('connect');
    assert.equal((await client.ask('join_distributor', ours.id)).success, true);
    assert.equal((await client.ask('join_conversation', open)).success, true);
    return client;
  };
  // moves has a client's next attempts go to another node, and answers once it is there.
  const moves = async (client, node, meanwhile) => {
    const { socket } = client;
    socket.io.uri = 'http://127.0.0.1:1'; // nobody is there
    socket.io.engine.close();
    await client.next('disconnect');
    await meanwhile?.();
    client.events = client.events.filter(({ name }) => name !== 'connect');
    socket.io.uri = node.url;
    await client.next('connect');
  };
  const times = (client, name, where) => client.events.filter((event) => event.name === name && where(event.args[0])).length;

  before(async () => {
    standin = await startStandin();
    redis = await startRedis();
    [ours] = await standin.tenants();
    [open] = ours.conversations;
    nodes = [await start(), await start()];
  });
  after(async () => {
    for (const node of nodes) await node.stop();
    left?.disconnectClients(); // they are at other nodes by now
    await redis?.stop();
    await standin?.stop();
  });

  test('rows that were written while it was away come once and in order, and nobody types for ever', async () => {
    const [ana, ben] = ours.users;
    const watcher = await enter(nodes[1], ben);
    const client = await enter(nodes[0], ana);
    await client.next('bridge_status', () => true);
    watcher.socket.emit('typing_start', { conversationId: open });
    await client.next('user_typing', ({ isTyping }) => isTyping);
    const before = await standin.write(open, 'row before');
    await client.next('new_message', ({ id }) => id === before.id);
    const { id } = client.socket;
    const rows = [];
    await moves(client, nodes[1], async () => {
      for (let i = 0; i < 20; i++) rows.push(await standin.write(open, `row ${i} while away`));
      await watcher.next('new_message', (row) => row.id === rows.at(-1).id);
      watcher.socket.emit('typing_stop', { conversationId: open });
      await watcher.ask('get_online_users');
    });
    assert.equal(client.socket.recovered, true);
    assert.equal(client.socket.id, id);
    const last = await standin.write(open, 'row after');
    await client.next('new_message', (row) => row.id === last.id);
    const came = client.events.filter(({ name }) => name === 'new_message').map(({ args }) => args[0].id);
    assert.deepEqual(came, [before, ...rows, last].map((row) => row.id));
    assert.ok(times(client, 'user_typing', ({ isTyping }) => !isTyping) > 0, 'it was not told that the typing stopped');
    assert.equal((await client.ask('leave_conversation', open)).success, true);
  });

  test('it is recovered at a third node when its own stops, and when that has just started', async () => {
    const [ana] = ours.users;
    const client = await enter(nodes[0], ana);
    const first = await standin.write(open, 'first');
    await client.next('new_message', ({ id }) => id === first.id);
    const stopped = nodes.shift();
    const rows = [];
    client.socket.io.uri = 'http://127.0.0.1:1';
    await stopped.program.stop();
    left = stopped;
    await client.next('disconnect');
    nodes.push(await start());
    for (let i = 0; i < 5; i++) rows.push(await standin.write(open, `row ${i}`));
    client.events = client.events.filter(({ name }) => name !== 'connect');
    client.socket.io.uri = nodes[0].url;
    await client.next('connect');
    assert.equal(client.socket.recovered, true, 'at a node that was there all the time');
    rows.push(await standin.write(open, 'row that both have heard whole'));
    for (const row of rows) await client.next('new_message', ({ id }) => id === row.id);
    await moves(client, nodes[1], async () => rows.push(await standin.write(open, 'row for the new node')));
    assert.equal(client.socket.recovered, true, 'at a node that has started since');
    await client.next('new_message', ({ id }) => id === rows.at(-1).id);
    assert.deepEqual(client.events.filter(({ name }) => name === 'new_message').map(({ args }) => args[0].id), [first, ...rows].map((row) => row.id));
  });

  test('nobody is recovered into a room that they may not be in any more', async () => {
    const [ana] = ours.users;
    const client = await enter(nodes[0], ana);
    const elsewhere = (await standin.tenants())[1];
    await moves(client, nodes[1], async () => {
      const { error } = await standin.service.from('conversations').update({ distributor_id: elsewhere.id }).eq('id', open);
      assert.equal(error, null);
    });
    assert.equal(client.socket.recovered, false);
    await standin.write(open, 'not for this client');
    await until('the answer to a later question', async () => (await client.ask('join_distributor', ours.id)).success);
    assert.equal(times(client, 'new_message', ({ content }) => content === 'not for this client'), 0);
  });
});

describe('recovery at another node, where the application says who may enter', () => {
  let standin, redis, app, ours, open, nodes;
  let may = true;

  before(async () => {
    standin = await startStandin();
    redis = await startRedis();
    app = createServer((request, response) => {
      request.resume();
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ allow: may }));
    });
    await new Promise((resolve) => app.listen(0, '127.0.0.1', resolve));
    [ours] = await standin.tenants();
    [open] = ours.conversations;
    const start = () => startBridge(standin, {
      SUPABRIDGE_CLUSTER_REDIS: redis.url,
      SUPABRIDGE_CLUSTER_MODE: 'streams',
      SUPABRIDGE_CLUSTER_CHANGES: 'leader',
      SUPABRIDGE_CLUSTER_LEASE: '1s',
      SUPABRIDGE_ROOMS_CONVERSATION_RULES: 'callback',
      SUPABRIDGE_ROOMS_AUTHORIZATION_CALLBACK_URL: `http://127.0.0.1:${app.address().port}/`,
      SUPABRIDGE_ROOMS_AUTHORIZATION_CALLBACK_SECRET: 'the secret of a test, long enough for it',
      SUPABRIDGE_ROOMS_AUTHORIZATION_RECHECK_EVERY: '0s', // nobody notices that a right has ended
    });
    nodes = [await start(), await start()];
  });
  after(async () => {
    for (const node of nodes ?? []) await node.stop();
    await redis?.stop();
    await standin?.stop();
    await new Promise((resolve) => app?.close(resolve));
  });

  for (const [name, withdrawn] of [['goes on while the right holds', false], ['gets nothing that was sent after its right had ended', true]]) {
    test(`a client ${name}, whatever that node remembers`, async () => {
      may = true;
      const [ana, ben] = ours.users;
      const enter = async (node, user) => {
        const client = node.connect(user.token, { transports: ['websocket'], reconnectionDelay: 100, reconnectionDelayMax: 200 });
        await client.next('connect');
        assert.equal((await client.ask('join_conversation', open)).success, true);
        return client;
      };
      const client = await enter(nodes[0], ana);
      const tab = await enter(nodes[1], ana); // so that the other node remembers a yes
      const watcher = await enter(nodes[1], ben);
      const before = await standin.write(open, 'before');
      await client.next('new_message', ({ id }) => id === before.id);
      const { id } = client.socket;
      client.socket.io.uri = 'http://127.0.0.1:1'; // nobody is there
      client.socket.io.engine.close();
      await client.next('disconnect');
      may = !withdrawn;
      const row = await standin.write(open, 'while it was away');
      await watcher.next('new_message', (message) => message.id === row.id);
      client.events = client.events.filter((event) => event.name !== 'connect');
      client.socket.io.uri = nodes[1].url;
      await client.next('connect');
      assert.equal(client.socket.recovered, !withdrawn);
      assert.equal(client.socket.id === id, !withdrawn);
      await client.ask('heartbeat');
      const got = client.events.filter((event) => event.name === 'new_message' && event.args[0].id === row.id).length;
      assert.equal(got, withdrawn ? 0 : 1, 'rows that were sent while it was away');
      for (const one of [client, tab, watcher]) one.close();
    });
  }
});
