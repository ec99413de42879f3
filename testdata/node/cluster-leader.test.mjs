// Several bridges of which one hears Realtime and reads for all (cluster.changes: leader), each with a way of its own to Supabase that counts.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { startBridge } from './harness/bridge.mjs';
import { startCounting } from './harness/counting.mjs';
import { until } from './harness/program.mjs';
import { startRedis } from './harness/redis.mjs';
import { startStandin } from './harness/standin.mjs';

const lease = 1000; // ms

describe('a cluster with one that hears for all', () => {
  let standin, redis, ours, open, nodes;
  const start = async (more = {}) => {
    const way = await startCounting(standin);
    const node = await startBridge({ url: way.url }, {
      SUPABRIDGE_CLUSTER_REDIS: redis.url,
      SUPABRIDGE_CLUSTER_CHANGES: 'leader',
      SUPABRIDGE_CLUSTER_LEASE: `${lease}ms`,
      SUPABRIDGE_SUPABASE_FEED_INTERVAL: '1s',
      SUPABRIDGE_SUPABASE_POLLING_AFTER: '1s',
      ...more,
    });
    return Object.assign(node, { way });
  };
  const end = async (node) => {
    await node.stop();
    await node.way.stop();
  };
  const hearing = () => nodes.filter(({ way }) => way.websockets > 0);
  const leader = () => hearing()[0];
  const enter = async (node, user) => {
    const client = node.connect(user.token, { transports: ['websocket'] });
    await client.next('connect');
    assert.equal((await client.ask('join_distributor', ours.id)).success, true);
    assert.equal((await client.ask('join_conversation', open)).success, true);
    return client;
  };
  const everywhere = () => Promise.all(nodes.map((node, i) => enter(node, ours.users[i % ours.users.length])));
  // reaches waits for a row at every client, and that none got it twice.
  const reaches = async (clients, row, name = 'new_message') => {
    for (const client of clients) await client.next(name, ({ id }) => id === row.id);
    for (const client of clients) assert.equal(client.events.filter((event) => event.name === name && event.args[0].id === row.id).length, 1);
  };

  before(async () => {
    standin = await startStandin();
    redis = await startRedis();
    [ours] = await standin.tenants();
    [open] = ours.conversations;
    nodes = [];
    for (let i = 0; i < 3; i++) nodes.push(await start());
  });
  after(async () => {
    for (const node of nodes) await end(node);
    await redis?.stop();
    await standin?.stop();
  });
  afterEach(() => {
    for (const node of nodes) node.disconnectClients();
  });

  test('inserts, updates and deletes reach the browsers of every node once, and one node alone hears and reads', async () => {
    await until('one hears', () => hearing().length === 1);
    const clients = await everywhere();
    for (const { way } of nodes) way.reads = [];
    for (let i = 0; i < 20; i++) {
      const row = await standin.write(open, `row ${i}`);
      await reaches(clients, row);
      const changed = await standin.change(row.id, { status: 'READ' });
      for (const client of clients) await client.next('message_updated', ({ id, status }) => id === changed.id && status === 'READ');
      await standin.remove(row.id);
      for (const client of clients) await client.next('message_deleted', ({ messageId }) => messageId === row.id);
    }
    await until('the leader has read its tables twice since', () => leader().way.reads.filter((path) => path.includes('updated_at=gte')).length >= 4);
    const reads = nodes.map(({ way }) => way.reads.filter((path) => path.includes('updated_at=gte')).length);
    assert.equal(reads.filter((n) => n > 0).length, 1, `reads of the nodes: ${reads}`);
    assert.equal(hearing().length, 1);
  });

  test('another takes the place of a leader that is killed within 5 s, and nothing is lost or comes twice', async () => {
    const dying = leader();
    const others = nodes.filter((node) => node !== dying);
    nodes = others;
    const clients = await everywhere();
    const rows = [];
    let stop = false;
    const writing = (async () => {
      for (let i = 0; !stop; i++) rows.push(await standin.write(open, `row ${i} while another takes the lead`));
    })();
    await until('some rows', () => rows.length > 20);
    const killed = Date.now();
    await dying.program.signal('SIGKILL');
    await until('another hears', () => others.filter(({ way }) => way.websockets > 0).length === 1);
    stop = true;
    await writing;
    for (const row of rows) await reaches(clients, row);
    assert.ok(Date.now() - killed < 5000, `it took ${Date.now() - killed} ms`);
    await dying.way.stop();
    nodes.push(await start());
  });

  test('while Realtime is away one node polls, and all have the rows', async () => {
    const clients = await everywhere();
    for (const { way } of nodes) way.shutWebsockets();
    await Promise.all(clients.map((client) => client.next('bridge_status', ({ state }) => state === 'polling')));
    for (const { way } of nodes) way.reads = [];
    for (let i = 0; i < 3; i++) await reaches(clients, await standin.write(open, `row ${i} while Realtime is away`));
    assert.equal(nodes.filter(({ way }) => way.reads.some((path) => path.includes('updated_at=gte'))).length, 1);
    for (const { way } of nodes) way.shut = false;
    await Promise.all(clients.map((client) => client.next('bridge_status', ({ state }) => state === 'live')));
    await reaches(clients, await standin.write(open, 'row when Realtime is back'));
  });

  test('while Redis is away each node hears for itself, and one does again once it is back', async () => {
    const clients = await everywhere();
    await redis.kill();
    const first = await standin.write(open, 'row when Redis has just gone');
    await reaches(clients, first);
    await until('every node hears', () => hearing().length === nodes.length);
    await reaches(clients, await standin.write(open, 'row while Redis is away'));
    await redis.start();
    for (let i = 0; hearing().length > 1; i++) {
      await reaches(clients, await standin.write(open, `row ${i} while Redis comes back`));
    }
    await reaches(clients, await standin.write(open, 'row when Redis is back'));
  });
});
