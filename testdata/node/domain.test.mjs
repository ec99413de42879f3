// What users of the real client do beside reading: being away, sending, being notified, joining by other paths and namespaces.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { io } from 'socket.io-client';
import { Client, startBridge } from './harness/bridge.mjs';
import { freePort, Program, until } from './harness/program.mjs';
import { rows, Standin } from './harness/standin.mjs';

const seed = fileURLToPath(new URL('../seeds/workplace.yaml', import.meta.url));

describe('users and what they do', () => {
  let project, standin, bridge, ours, theirs, open;

  before(async () => {
    const port = await freePort();
    standin = new Standin(port); // with a seed of its own, so it is started here
    project = Program.start(['standin', '--listen', `127.0.0.1:${port}`, '--poll', '0s', '--seed', seed]);
    await project.answers(`${standin.url}/health`);
    bridge = await startBridge(standin, {
      SUPABRIDGE_SOCKETIO_PATHS: '/socket.io,/api/socket',
      SUPABRIDGE_SOCKETIO_NAMESPACES: '/,/chat',
      SUPABRIDGE_TABLES_NOTIFICATIONS_NAME: 'notifications',
      SUPABRIDGE_TABLES_NOTIFICATIONS_CONVERSATION: 'conversation_id',
      SUPABRIDGE_TABLES_NOTIFICATIONS_TENANT: 'distributor_id',
      SUPABRIDGE_SENDING_ENABLED: 'true',
      SUPABRIDGE_SENDING_SENDER: 'sender_id',
      SUPABRIDGE_SENDING_SET: 'is_from_customer:=false',
      SUPABRIDGE_PRESENCE_GRACE: '200ms',
      SUPABRIDGE_TYPING_REPEAT: '300ms',
    });
    [ours, theirs] = await standin.tenants();
    [open] = ours.conversations;
  });
  afterEach(() => bridge.disconnectClients());
  after(async () => {
    await bridge?.stop();
    await project?.stop();
  });

  const enter = async (user, options, tenant = ours) => {
    const client = bridge.connect(user.token, options);
    await client.next('connect');
    assert.equal((await client.ask('join_distributor', tenant.id)).success, true);
    assert.equal((await client.ask('join_conversation', tenant.conversations[0])).success, true);
    return client;
  };
  const by = (user) => (payload) => payload.userId === user.id;

  test('a notification reaches the user it names, in every tab, and nobody else', async () => {
    const [ana, ben] = ours.users;
    const [tab, other, colleague] = [await enter(ana), await enter(ana), await enter(ben)];
    const notify = (row) => standin.service.from('notifications').insert(row).select().single().then(rows);
    const row = await notify({ user_id: ana.id, title: 'An order', message: 'from the bakery', type: 'order', data: { order: 7 } });
    for (const client of [tab, other]) {
      const got = await client.next('notification');
      assert.deepEqual([got.id, got.type, got.title, got.message, got.data.order], [row.id, 'order', 'An order', 'from the bakery', 7]);
    }
    await notify({ distributor_id: ours.id, title: 'to all of the tenant' });
    assert.equal((await colleague.next('notification')).title, 'to all of the tenant');
  });

  test('a message sent over the socket is stored as its user, and reaches everybody', async () => {
    const [ana, ben] = ours.users;
    const [first, second] = [await enter(ana), await enter(ben)];
    first.tell('typing_start', open);
    await second.next('user_typing', (p) => by(ana)(p) && p.isTyping);
    const answer = await first.ask('send_message', { conversationId: open, content: 'over the socket' });
    assert.equal(answer.success, true, JSON.stringify(answer));
    for (const client of [first, second]) {
      const message = await client.next('new_message', (m) => m.id === answer.messageId);
      assert.deepEqual([message.content, message.senderId, message.is_from_customer], ['over the socket', ana.id, false]);
    }
    await second.next('user_stopped_typing', by(ana));
    const refused = await (await enter(theirs.users[0], {}, theirs)).ask('send_message', { conversationId: open, content: 'x' });
    assert.deepEqual([refused.success, refused.code], [false, 'forbidden']);
  });

  test('an indicator that clears itself stays while the other still types', async () => {
    const [ana, ben] = ours.users;
    const [first, second] = [await enter(ana), await enter(ben)];
    const keys = setInterval(() => first.tell('typing_start', open), 100);
    try {
      const times = [];
      second.socket.on('user_typing', (p) => p.isTyping && times.push(Date.now()));
      await until('several signs', () => times.length >= 4);
    } finally {
      clearInterval(keys);
    }
  });

  test('away and busy are told, and the snapshot has those who left', async () => {
    const [ana, ben] = ours.users;
    const [first, second] = [await enter(ana), await enter(ben)];
    second.tell('user_away');
    await first.next('presence_update', (p) => by(ben)(p) && p.status === 'away' && p.isOnline);
    second.tell('set_status', { status: 'busy' });
    await first.next('presence_update', (p) => by(ben)(p) && p.status === 'busy');
    second.close();
    await first.next('presence_update', (p) => by(ben)(p) && p.status === 'offline');
    const snapshot = await first.ask('get_presence');
    assert.ok(snapshot.find((p) => by(ana)(p) && p.status === 'online'));
    const gone = snapshot.find(by(ben));
    assert.ok(gone.isOnline === false && !Number.isNaN(Date.parse(gone.lastSeen)), JSON.stringify(gone));
    const third = await enter(ben);
    assert.ok((await third.next('presence_state')).find((p) => by(ben)(p) && p.isOnline));
  });

  test('every path, with and without a slash, and every namespace is the same house', async () => {
    const [ana, ben, carla] = ours.users;
    const first = await enter(ana, { path: '/api/socket' });
    const second = await enter(ben, { path: '/api/socket', addTrailingSlash: false, transports: ['websocket'] });
    const third = new Client(io(`${bridge.url}/chat`, { forceNew: true, auth: { token: carla.token } }));
    try {
      await third.next('connect');
      assert.equal((await third.ask('join_conversation', open)).success, true);
      third.tell('typing_start', open);
      for (const client of [first, second]) await client.next('user_typing', by(carla));
      const row = await standin.write(open, 'to every namespace');
      for (const client of [first, second, third]) await client.next('new_message', (m) => m.id === row.id);
    } finally {
      third.close();
    }
  });
});
