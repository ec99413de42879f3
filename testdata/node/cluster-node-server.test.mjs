// A Socket.IO server in Node with an official adapter beside two bridges, as during a migration: its clients get what those of the bridges get, once.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { createAdapter, createShardedAdapter } from '@socket.io/redis-adapter';
import { createAdapter as createStreamsAdapter } from '@socket.io/redis-streams-adapter';
import { createClient, createCluster } from 'redis';
import { Server } from 'socket.io';
import { io } from 'socket.io-client';
import { Client, startBridge } from './harness/bridge.mjs';
import { until } from './harness/program.mjs';
import { startRedis } from './harness/redis.mjs';
import { startRedisCluster } from './harness/redis-cluster.mjs';
import { startStandin } from './harness/standin.mjs';

// The styles that browsers of the bridges hear besides the preset's, and how a frontend of each enters and what it calls things.
const styles = {
  underscore: { join: ['join_conversation', (id) => id], message: 'new_message', typing: 'user_typing' },
  colon: { join: ['conversation:join', (id) => ({ conversationId: id })], message: 'message:new', typing: 'typing:start' },
  kebab: { join: ['join-conversation', (id) => `conversation_${id}`], message: 'new-message', typing: 'user-typing' },
  camel: { join: ['joinConversation', (id) => ({ conversationId: id })], message: 'newMessage', typing: 'userTyping' },
};
const text = (payload) => payload.content ?? payload.message?.content;

for (const [mode, adapter, cluster = false] of [
  ['pubsub', createAdapter],
  ['sharded', createShardedAdapter],
  ['sharded', createShardedAdapter, true],
  ['streams', createStreamsAdapter],
]) {
  describe(`a Node server beside bridges (${mode}${cluster ? ' on a Redis Cluster' : ''})`, () => {
    let standin, redis, ours, open, bridges, server, pub, sub, url;
    const clients = [];

    // old connects to the Node server, whose handlers put it into the rooms as the application's would.
    const old = async (user) => {
      const client = new Client(io(url, { forceNew: true, transports: ['websocket'] }));
      clients.push(client);
      await client.next('connect');
      await client.ask('enter', [`conversation:${open}`, `tenant:${ours.id}`, `\0user:${user.id}`]);
      return client;
    };
    const enter = async (bridge, user, style = 'underscore') => {
      const client = bridge.connect(user.token, { transports: ['websocket'] });
      await client.next('connect');
      const [name, argument] = styles[style].join;
      await client.ask(name, argument(open));
      return client;
    };
    const named = (client, name, where = () => true) => client.events.filter((event) => event.name === name && where(event.args[0])).length;

    before(async () => {
      standin = await startStandin();
      redis = await (cluster ? startRedisCluster() : startRedis());
      [ours] = await standin.tenants();
      [open] = ours.conversations;
      bridges = [];
      for (let i = 0; i < 2; i++) {
        bridges.push(
          await startBridge(standin, {
            SUPABRIDGE_CLUSTER_REDIS: redis.url,
            SUPABRIDGE_CLUSTER_MODE: mode,
            SUPABRIDGE_CLUSTER_LEASE: '1500ms',
            SUPABRIDGE_PRESENCE_GRACE: '500ms',
            SUPABRIDGE_TYPING_TIMEOUT: '60s',
            SUPABRIDGE_TYPING_REPEAT: '0s',
          }),
        );
      }
      pub = cluster ? createCluster({ rootNodes: redis.urls.map((url) => ({ url })) }) : createClient({ url: redis.url });
      await pub.connect();
      sub = pub.duplicate();
      await sub.connect();
      const http = createServer();
      server = new Server(http, { adapter: adapter(pub, sub) });
      server.on('connection', (socket) => {
        socket.on('enter', (rooms, ack) => (socket.join(rooms), ack()));
        socket.on('typing_start', () => socket.to(`conversation:${open}`).emit('user_typing', { from: 'old' }));
      });
      await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve));
      url = `http://127.0.0.1:${http.address().port}`;
      await until('the bridges to see the Node server', () =>
        bridges.every(({ program }) => program.lines.some(({ message }) => message.startsWith('cluster: there are Socket.IO servers that are no bridges'))),
      );
      await until('a leader', () => bridges.some(({ program }) => program.lines.some(({ message }) => message === 'cluster: this node leads')));
    });
    after(async () => {
      for (const client of clients) client.close();
      for (const bridge of bridges ?? []) await bridge.stop();
      await server?.close();
      for (const client of [pub, sub]) await client?.quit();
      await redis?.stop();
      await standin?.stop();
    });

    test('rows, typing, having read and presence reach the clients of each, once, in the style they hear', async () => {
      const [ana, ben, carla] = ours.users;
      const browsers = [];
      for (const [i, style] of Object.keys(styles).entries()) browsers.push({ style, client: await enter(bridges[i % 2], ana, style) });
      const outside = await old(carla);
      browsers.push({ style: 'underscore', client: outside });
      for (const { client } of browsers) client.events = [];

      const row = await standin.write(open, 'written');
      const changed = await standin.change(row.id, { status: 'DELIVERED' });
      assert.equal(changed.id, row.id);
      for (const { style, client } of browsers) await client.next(styles[style].message, (payload) => text(payload) === 'written');
      await outside.next('message_updated', ({ id }) => id === row.id);

      const typist = await enter(bridges[1], ben);
      typist.tell('typing_start', { conversationId: open });
      for (const { style, client } of browsers) {
        if (client !== outside) await client.next(styles[style].typing);
      }
      await outside.next('user_typing', ({ userId, isTyping }) => userId === ben.id && isTyping);
      typist.tell('typing_stop', { conversationId: open });
      await outside.next('user_typing', ({ userId, isTyping }) => userId === ben.id && !isTyping);
      typist.tell('mark_read', { conversationId: open, messageIds: [row.id] });
      await outside.next('messages_read', ({ readBy }) => readBy === ben.id);
      await outside.next('user_online', ({ userId }) => userId === ben.id);
      typist.close();
      await outside.next('user_offline', ({ userId }) => userId === ben.id);

      await standin.remove(row.id);
      await outside.next('message_deleted', ({ messageId, id }) => (messageId ?? id) === row.id);
      await standin.write(open, 'the last');
      for (const { style, client } of browsers) await client.next(styles[style].message, (payload) => text(payload) === 'the last');

      for (const { style, client } of browsers) {
        assert.equal(named(client, styles[style].message), 2, `messages at ${style}`);
        const seen = client.events.map(({ name, args }) => JSON.stringify([name, args]));
        assert.deepEqual(
          seen.filter((event, i) => seen.indexOf(event) !== i),
          [],
          `what came twice to ${style}`,
        );
      }
      for (const event of ['user_online', 'user_offline', 'messages_read', 'message_deleted', 'message_updated']) {
        assert.equal(named(outside, event), 1, `${event} at the Node server`);
      }
      assert.equal(named(outside, 'user_typing'), 2);
      for (const other of ['message:new', 'new-message', 'newMessage', 'typing:start', 'userTyping']) {
        assert.equal(named(outside, other), 0, `${other} at the Node server`);
      }
    });

    test('who types is not told of it at the Node server either, and what its handlers emit reaches browsers', async () => {
      const [ana, ben] = ours.users;
      const browser = await enter(bridges[0], ana);
      const [mine, theirs] = [await old(ana), await old(ben)];
      browser.tell('typing_start', { conversationId: open });
      await theirs.next('user_typing', ({ userId, isTyping }) => userId === ana.id && isTyping);
      theirs.tell('typing_start');
      await browser.next('user_typing', ({ from }) => from === 'old');
      await mine.next('user_typing', ({ from }) => from === 'old');
      assert.equal(named(mine, 'user_typing', ({ userId }) => userId === ana.id), 0);
      assert.equal(named(browser, 'user_typing', ({ from }) => from === 'old'), 1);
    });

    test('another leader takes over', async () => {
      const leads = ({ program }) => program.lines.some(({ message }) => message === 'cluster: this node leads');
      const leader = bridges.findIndex(leads);
      const [other] = bridges.filter((_, i) => i !== leader);
      const outside = await old(ours.users[0]);
      await bridges[leader].program.signal('SIGKILL');
      bridges[leader].disconnectClients();
      await until('another leader', () => leads(other));
      const row = await standin.write(open, 'after');
      await outside.next('new_message', ({ id }) => id === row.id);
      assert.equal(named(outside, 'new_message', ({ id }) => id === row.id), 1);
    });
  });
}
