// A row written by supabase-js reaches the browsers that joined its conversation, and nobody else.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startBridge } from './harness/bridge.mjs';
import { startStandin } from './harness/standin.mjs';
import { userToken } from './harness/tokens.mjs';

describe('delivery', () => {
  let standin, bridge, ours, theirs, open, other;

  before(async () => {
    standin = await startStandin();
    bridge = await startBridge(standin);
    [ours, theirs] = await standin.tenants();
    [open, other] = ours.conversations;
  });
  after(async () => {
    await bridge?.stop();
    await standin?.stop();
  });

  const joined = async (user, conversation, options) => {
    const client = bridge.connect(user.token, options);
    await client.next('connect');
    assert.deepEqual(await client.ask('join_conversation', conversation), {
      success: true,
      ok: true,
      conversationId: conversation,
    });
    return client;
  };
  const withID = (id) => (payload) => (payload.id ?? payload.messageId) === id;

  test('default options start by polling and upgrade to websocket', async () => {
    const client = bridge.connect(ours.users[0].token);
    const { io } = client.socket;
    const upgraded = new Promise((resolve) => {
      io.on('open', () => {
        assert.equal(io.engine.transport.name, 'polling');
        io.engine.once('upgrade', (transport) => resolve(transport.name));
      });
    });
    await client.next('connect');
    assert.equal(await upgraded, 'websocket');
    await client.ask('join_conversation', open);
    const row = await standin.write(open, 'after the upgrade');
    await client.next('new_message', withID(row.id));
    client.close();
  });

  for (const [name, options] of [
    ['polling first, then upgrade', {}],
    ['websocket first', { transports: ['websocket', 'polling'] }],
    ['websocket only', { transports: ['websocket'] }],
    ['polling only', { transports: ['polling'] }],
  ]) {
    test(`insert, update, status and delete arrive: ${name}`, async () => {
      const client = await joined(ours.users[0], open, options);
      assert.deepEqual((await client.next('joined_conversation')).conversationId, open);

      const row = await standin.write(open, 'Grüße\nin two lines 🚚', { is_from_customer: false });
      const created = await client.next('new_message', withID(row.id));
      for (const [column, value] of Object.entries(row)) {
        assert.deepEqual(created[column], value, `column ${column} of new_message`);
      }
      assert.equal(created.conversationId, open);
      assert.equal(created.isFromCustomer, false);
      assert.equal(created.distributorId, ours.id);
      assert.equal(created.message.content, row.content);

      await standin.change(row.id, { content: 'corrected' });
      const updated = await client.next('message_updated', withID(row.id));
      assert.equal(updated.content, 'corrected');

      await standin.change(row.id, { status: 'DELIVERED' });
      const status = await client.next('message_status_update', withID(row.id));
      assert.equal(status.status, 'DELIVERED');
      assert.equal(status.previousStatus, 'SENT');
      assert.equal(status.conversationId, open);

      await standin.remove(row.id);
      await client.next('message_deleted', withID(row.id));
      client.close();
    });
  }

  test('the join accepts an object with the id as well as the bare id', async () => {
    const client = bridge.connect(ours.users[0].token);
    await client.next('connect');
    for (const argument of [{ conversationId: open }, { conversation_id: open }, open]) {
      const answer = await client.ask('join_conversation', argument);
      assert.deepEqual(answer, { success: true, ok: true, conversationId: open });
    }
    client.close();
  });

  test('a socket in both the conversation and the tenant room gets a row once', async () => {
    const client = await joined(ours.users[0], open);
    assert.equal((await client.ask('join_distributor', ours.id)).success, true);
    const row = await standin.write(open, 'once');
    const marker = await standin.write(open, 'marker');
    await client.next('new_message', withID(marker.id));
    assert.equal(client.events.filter((event) => event.name === 'new_message' && event.args[0].id === row.id).length, 1);
    client.close();
  });

  test('the tenant room brings the rows of every conversation of the tenant, and of no other', async () => {
    const client = bridge.connect(ours.users[0].token);
    await client.next('connect');
    assert.equal((await client.ask('join_distributor', { distributorId: ours.id })).success, true);
    const foreign = await standin.write(theirs.conversations[0], 'for others');
    for (const conversation of [open, other]) {
      const row = await standin.write(conversation, 'for the tenant');
      await client.next('new_message', withID(row.id));
    }
    assert.ok(!client.events.some((event) => event.args[0]?.id === foreign.id));
    client.close();
  });

  test('a client that did not join gets nothing', async () => {
    const member = await joined(ours.users[0], open);
    const stranger = bridge.connect(ours.users[1].token);
    await stranger.next('connect');
    const before = await standin.write(open, 'before the join');
    await standin.change(before.id, { content: 'changed before the join' });
    await standin.remove(before.id);
    await member.next('message_deleted', withID(before.id));

    await stranger.ask('join_conversation', open);
    const marker = await standin.write(open, 'after the join');
    await stranger.next('new_message', withID(marker.id));
    assert.ok(!JSON.stringify(stranger.events.map((event) => event.args)).includes(before.id));
    member.close();
    stranger.close();
  });

  test('a client that left gets nothing more', async () => {
    const member = await joined(ours.users[0], open);
    const leaver = await joined(ours.users[1], open);
    assert.equal((await leaver.ask('leave_conversation', open)).success, true);
    const after = await standin.write(open, 'after the leave');
    await member.next('new_message', withID(after.id));
    await leaver.ask('join_conversation', open);
    const marker = await standin.write(open, 'after the return');
    await leaver.next('new_message', withID(marker.id));
    assert.ok(!leaver.events.some((event) => event.args[0]?.id === after.id));
    member.close();
    leaver.close();
  });

  test("another tenant's token is refused in the ack and gets nothing", async () => {
    const member = await joined(ours.users[0], open);
    const intruder = bridge.connect(theirs.users[0].token);
    await intruder.next('connect');
    const refused = await intruder.ask('join_conversation', open);
    assert.equal(refused.success, false);
    assert.equal(refused.ok, false);
    assert.ok(refused.error, 'a refused join says why');
    assert.equal((await intruder.ask('join_distributor', ours.id)).success, false);

    const [own] = theirs.conversations;
    assert.equal((await intruder.ask('join_conversation', own)).success, true);
    const row = await standin.write(open, 'not for them');
    await standin.change(row.id, { status: 'READ' });
    await standin.remove(row.id);
    await member.next('message_deleted', withID(row.id));
    const marker = await standin.write(own, 'for them');
    await intruder.next('new_message', withID(marker.id));
    assert.ok(!JSON.stringify(intruder.events.map((event) => event.args)).includes(row.id));
    member.close();
    intruder.close();
  });

  test('a tenant in the payload does not widen what the token allows', async () => {
    const intruder = bridge.connect(theirs.users[0].token, {
      auth: { token: theirs.users[0].token, distributorId: ours.id, userId: ours.users[0].id },
    });
    await intruder.next('connect');
    const refused = await intruder.ask('join_conversation', { conversationId: open, distributorId: ours.id });
    assert.equal(refused.success, false);
    intruder.close();
  });

  for (const [name, token] of [
    ['no token', () => undefined],
    ['a token that is no token', () => 'nonsense'],
    ['a token signed with another secret', () => userToken({ ...ours.users[0], tenant: ours.id }, { secret: 'x'.repeat(40) })],
    ['an expired token', () => userToken({ ...ours.users[0], tenant: ours.id }, { seconds: -3600 })],
  ]) {
    test(`${name} is a connect_error`, async () => {
      const client = bridge.connect(token(), { reconnection: false });
      const error = await client.next('connect_error');
      assert.equal(error.message, 'Authentication error');
      client.close();
    });
  }

  test('rows arrive in the order they were committed', async () => {
    const client = await joined(ours.users[0], open);
    const written = [];
    for (let n = 0; n < 50; n++) written.push((await standin.write(open, `number ${n}`)).id);
    for (const id of written) await client.next('new_message', withID(id));
    const arrived = client.events.filter((event) => event.name === 'new_message').map((event) => event.args[0].id);
    assert.deepEqual(arrived, written);
    client.close();
  });
});
