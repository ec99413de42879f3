// Clients of supabase-js and of socket.io-client see each other type, and come and go: the real ones, with the bridge between them.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { startBridge } from './harness/bridge.mjs';
import { until } from './harness/program.mjs';
import { client as supabaseJs, startStandin } from './harness/standin.mjs';
import { anonKey } from './harness/tokens.mjs';

describe('typing and presence over Supabase Realtime', () => {
  let standin, bridge, oneWay, ours, theirs, open;
  const clients = [];

  before(async () => {
    standin = await startStandin();
    bridge = await startBridge(standin, {
      SUPABRIDGE_REALTIME_TYPING_SHARE: 'both',
      SUPABRIDGE_REALTIME_PRESENCE_SHARE: 'both',
      SUPABRIDGE_PRESENCE_GRACE: '200ms',
      SUPABRIDGE_TYPING_TIMEOUT: '1s',
    });
    oneWay = await startBridge(standin, { SUPABRIDGE_REALTIME_TYPING_SHARE: 'in', SUPABRIDGE_REALTIME_TYPING_TOPIC: 'room-{conversation}' });
    [ours, theirs] = await standin.tenants();
    [open] = ours.conversations;
  });
  afterEach(async () => {
    bridge.disconnectClients();
    oneWay.disconnectClients();
    for (const client of clients.splice(0)) await client.removeAllChannels();
  });
  after(async () => {
    await bridge?.stop();
    await oneWay?.stop();
    await standin?.stop();
  });

  const enter = async (user, tenant = ours, at = bridge) => {
    const client = at.connect(user.token);
    await client.next('connect');
    await client.ask('join_distributor', tenant.id);
    await client.ask('join_conversation', tenant.conversations[0]);
    return client;
  };

  // channel subscribes as a page with supabase-js does.
  const channel = async (name, config = {}, listen = () => {}) => {
    const client = supabaseJs(standin.url, anonKey);
    clients.push(client);
    const channel = client.channel(name, { config });
    listen(channel);
    await new Promise((resolve, reject) => {
      channel.subscribe((status, error) => (status === 'SUBSCRIBED' ? resolve() : error && reject(error)));
    });
    return channel;
  };

  test('who types in a page with socket.io-client is seen in one with supabase-js', async () => {
    const ana = await enter(ours.users[0]);
    const heard = [];
    await channel(`typing:${open}`, {}, (c) => c.on('broadcast', { event: 'typing' }, ({ payload }) => heard.push(payload)));
    ana.tell('typing_start', { conversationId: open });
    await until('typing', () => heard.find((p) => p.userId === ours.users[0].id && p.isTyping && p.userName === ours.users[0].name));
    await until('its end, by time', () => heard.find((p) => p.user_id === ours.users[0].id && p.is_typing === false));
  });

  test('who types in a page with supabase-js is seen in one with socket.io-client', async () => {
    const [ana, ben] = ours.users;
    const first = await enter(ana);
    const page = await channel(`typing:${open}`);
    const say = (isTyping) => page.send({ type: 'broadcast', event: 'typing', payload: { userId: ben.id, userName: ben.name, isTyping } });
    await until('typing', async () => {
      await say(true); // the bridge joins the channel a moment after the first browser joined the conversation
      return first.next('user_typing', (p) => p.userId === ben.id && p.isTyping, 0.2).catch(() => null);
    });
    await say(false);
    await first.next('user_stopped_typing', (p) => p.userId === ben.id);
  });

  test('one way only, nothing goes the other', async () => {
    const ana = await enter(ours.users[0], ours, oneWay);
    const heard = [];
    const page = await channel(`room-${open}`, {}, (c) => c.on('broadcast', { event: 'typing' }, ({ payload }) => heard.push(payload)));
    ana.tell('typing_start', { conversationId: open });
    await until('typing of the page', async () => {
      await page.send({ type: 'broadcast', event: 'typing', payload: { userId: 'guest' } });
      return ana.next('user_typing', (p) => p.userId === 'guest', 0.2).catch(() => null);
    });
    assert.deepEqual(heard, []);
  });

  test('each sees the other online, and how they are, within the tenant', async () => {
    const [ana, ben] = ours.users;
    const first = await enter(ana);
    const stranger = await enter(theirs.users[0], theirs);
    const page = await channel(`presence:${ours.id}`, { presence: { key: ben.id } }, (c) => c.on('presence', { event: 'sync' }, () => {}));
    await until('ana among the present', () => page.presenceState()[ana.id]?.[0]?.status === 'online');
    await page.track({ online_at: new Date().toISOString() });
    await first.next('user_online', (p) => p.userId === ben.id);
    await until('both online', async () => (await first.ask('get_online_users')).length === 2);
    first.tell('user_away');
    await until('ana away', () => page.presenceState()[ana.id]?.[0]?.status === 'away');
    await page.untrack();
    const gone = await first.next('user_offline', (p) => p.userId === ben.id);
    assert.ok(!Number.isNaN(Date.parse(gone.lastSeen)));
    first.close();
    await until('ana gone', () => !page.presenceState()[ana.id]);
    assert.ok(!JSON.stringify(stranger.events).includes(ben.id), 'nothing crosses into another tenant');
    assert.ok(!JSON.stringify(page.presenceState()).includes(theirs.users[0].id));
  });

  test('the connection that carries changes carries nothing else', async () => {
    const ana = await enter(ours.users[0]);
    await channel(`typing:${open}`);
    ana.tell('typing_start', { conversationId: open });
    await ana.ask('heartbeat');
    const row = await standin.write(open, 'while typing is shared');
    await ana.next('new_message', (m) => m.id === row.id);
  });
});
