// Typing and presence between real clients, by the default vocabulary.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { startBridge } from './harness/bridge.mjs';
import { until } from './harness/program.mjs';
import { startStandin } from './harness/standin.mjs';

describe('typing and presence', () => {
  let standin, bridge, patient, ours, theirs, open;

  before(async () => {
    standin = await startStandin();
    bridge = await startBridge(standin, { SUPABRIDGE_TYPING_TIMEOUT: '1s', SUPABRIDGE_PRESENCE_GRACE: '200ms' });
    // Where a test must not be overtaken by a timer.
    patient = await startBridge(standin, { SUPABRIDGE_TYPING_TIMEOUT: '60s', SUPABRIDGE_PRESENCE_GRACE: '2s' });
    [ours, theirs] = await standin.tenants();
    [open] = ours.conversations;
  });
  after(async () => {
    await bridge?.stop();
    await patient?.stop();
    await standin?.stop();
  });

  const enter = async (user, tenant = ours, at = bridge) => {
    const client = at.connect(user.token);
    await client.next('connect');
    assert.equal((await client.ask('join_distributor', tenant.id)).success, true);
    assert.equal((await client.ask('join_conversation', tenant.conversations[0])).success, true);
    return client;
  };
  afterEach(() => {
    bridge.disconnectClients();
    patient.disconnectClients();
  });

  // alone enters as a user and waits until nobody of an earlier test is online any more; it forgets having seen them go.
  const alone = async (user) => {
    const client = await enter(user);
    await until('empty tenant', async () => (await client.ask('get_online_users')).length === 1);
    client.events = [];
    return client;
  };
  const by = (user, isTyping) => (payload) =>
    payload.userId === user.id && (isTyping === undefined || payload.isTyping === isTyping);

  test('typing starts and stops at the others, never at the one who types', async () => {
    const [ana, ben] = ours.users;
    const [first, second] = [await enter(ana), await enter(ben)];
    first.tell('typing_start', { conversationId: open });
    const started = await second.next('user_typing', by(ana, true));
    assert.equal(started.conversationId, open);
    first.tell('typing_stop', { conversationId: open });
    await second.next('user_typing', by(ana, false));
    assert.equal((await second.next('user_stopped_typing', by(ana))).conversationId, open);
    // The boolean must come before the stop event: clients that keep only one of the two stay clean only in this order.
    const names = second.events.filter((event) => by(ana)(event.args[0] ?? {})).map((event) => event.name);
    assert.ok(names.lastIndexOf('user_typing') < names.indexOf('user_stopped_typing'));

    second.tell('typing_start', { conversationId: open });
    await first.next('user_typing', by(ben, true)); // a marker after all of ana's own
    assert.ok(!first.events.some((event) => event.name === 'user_typing' && event.args[0].userId === ana.id));
    first.close();
    second.close();
  });

  test('the server stops typing that nobody stopped', async () => {
    const [ana, ben] = ours.users;
    const [first, second] = [await enter(ana), await enter(ben)];
    first.tell('typing_start', { conversationId: open });
    await second.next('user_typing', by(ana, true));
    await second.next('user_typing', by(ana, false));
    await second.next('user_stopped_typing', by(ana));
    first.close();
    second.close();
  });

  test('a disconnect stops typing', async () => {
    const [ana, ben] = ours.users;
    const [first, second] = [await enter(ana, ours, patient), await enter(ben, ours, patient)];
    first.tell('typing_start', { conversationId: open });
    await second.next('user_typing', by(ana, true));
    first.close();
    await second.next('user_typing', by(ana, false));
    await second.next('user_stopped_typing', by(ana));
    second.close();
  });

  test('typing does not cross into another tenant', async () => {
    const [ana, ben] = ours.users;
    const [first, second] = [await enter(ana), await enter(ben)];
    const intruder = await enter(theirs.users[0], theirs);
    intruder.tell('typing_start', { conversationId: open });
    await intruder.ask('get_online_users'); // handled after it, on the same connection
    first.tell('typing_start', { conversationId: open });
    await second.next('user_typing', by(ana, true));
    assert.ok(!second.events.some((event) => event.args[0]?.userId === theirs.users[0].id));
    for (const client of [first, second, intruder]) client.close();
  });

  test('the first socket of a user brings them online and the last takes them offline', async () => {
    const [ana, ben] = ours.users;
    const first = await alone(ana);
    const second = await enter(ben);
    await first.next('user_online', by(ben));
    const online = await first.next('presence_update', by(ben));
    assert.equal(online.status, 'online');
    assert.equal(online.isOnline, true);

    const list = await second.next('online_users');
    assert.deepEqual([...list].sort(), [ana.id, ben.id].sort());
    assert.deepEqual([...(await second.ask('get_online_users'))].sort(), [ana.id, ben.id].sort());

    const third = await enter(ben);
    second.close();
    await third.ask('get_online_users');
    third.close();
    const gone = await first.next('user_offline', by(ben));
    assert.ok(!Number.isNaN(Date.parse(gone.lastSeen)), `lastSeen ${gone.lastSeen} is a time`);
    await first.next('presence_update', (payload) => by(ben)(payload) && payload.isOnline === false);
    const offline = first.events.filter((event) => event.name === 'user_offline' && event.args[0].userId === ben.id);
    assert.equal(offline.length, 1, 'offline once, with the last socket');
    assert.deepEqual(await first.ask('get_online_users'), [ana.id]);
    first.close();
  });

  test('a return within the grace is not seen as going offline', async () => {
    const [ana, ben, carla] = ours.users;
    const first = await enter(ana, ours, patient);
    const visit = await enter(carla, ours, patient);
    const left = await enter(ben, ours, patient);
    left.close();
    const returned = await enter(ben, ours, patient);
    visit.close();
    await first.next('user_offline', by(carla)); // she left after ben did, so his grace ended before hers
    assert.ok(!first.events.some((event) => event.name === 'user_offline' && event.args[0].userId === ben.id));
    first.close();
    returned.close();
  });

  test('presence does not cross into another tenant', async () => {
    const [ana, ben] = ours.users;
    const first = await alone(ana);
    const intruder = await enter(theirs.users[0], theirs);
    const second = await enter(ben);
    await first.next('user_online', by(ben)); // a marker after the other tenant's arrival
    assert.ok(!JSON.stringify(first.events.map((event) => event.args)).includes(theirs.users[0].id));
    assert.deepEqual(await intruder.ask('get_online_users'), [theirs.users[0].id]);
    for (const client of [first, second, intruder]) client.close();
  });
});
