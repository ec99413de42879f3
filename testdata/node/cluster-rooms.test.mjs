// Webhooks to the application that tell which rooms are occupied, of three bridges as of one: each change once, but those of the last second before another leads, which may be
// told twice.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startBridge } from './harness/bridge.mjs';
import { until } from './harness/program.mjs';
import { startRedis } from './harness/redis.mjs';
import { startStandin } from './harness/standin.mjs';

describe('rooms of a cluster', () => {
  const folder = mkdtempSync(join(tmpdir(), 'supabridge-rooms-'));
  const told = [];
  let standin, redis, ours, nodes, application;

  const add = async () => {
    const node = await startBridge(standin, {
      SUPABRIDGE_CLUSTER_REDIS: redis.url,
      SUPABRIDGE_CLUSTER_LEASE: '1500ms',
      SUPABRIDGE_PRESENCE_GRACE: '500ms',
      SUPABRIDGE_WEBHOOKS_OUTGOING_URL: `http://127.0.0.1:${application.address().port}/`,
      SUPABRIDGE_WEBHOOKS_OUTGOING_SECRET: 'a secret of sixteen bytes',
      SUPABRIDGE_WEBHOOKS_OUTGOING_EVENTS: 'room_occupied,room_vacated',
      SUPABRIDGE_WEBHOOKS_OUTBOX_PATH: join(folder, `${nodes.length}-${Date.now()}.db`),
    });
    nodes.push(node);
    const known = ({ program }) => program.lines.filter(({ message }) => message === 'cluster: a node came').length;
    await until('it to know the others', () => known(node) >= nodes.length - 1);
    return node;
  };
  const enter = async (node, user, conversation) => {
    const client = node.connect(user.token, { transports: ['websocket'] });
    await client.next('connect');
    assert.equal((await client.ask('join_conversation', conversation)).success, true);
    return client;
  };
  const leads = ({ program }) => program.lines.some(({ message }) => message === 'cluster: this node leads');
  // what was told of a conversation, in order; of what was told twice, once.
  const of = (conversation) => all(conversation).filter((type, i, list) => type !== list[i - 1]);
  const all = (conversation) => told.filter(({ data }) => data.room === `conversation:${conversation}`).map(({ type }) => type);
  const becomes = (conversation, ...want) => until(`${want} of ${conversation}`, () => `${of(conversation)}` === `${want}`, 30);
  // looked makes sure that all nodes have looked over their rooms since: a room that came and went is told of.
  const looked = async (node, user, conversation) => {
    const before = of(conversation);
    const client = await enter(node, user, conversation);
    await becomes(conversation, ...before, 'room_occupied');
    client.close();
    await becomes(conversation, ...before, 'room_occupied', 'room_vacated');
  };

  before(async () => {
    application = createServer((request, response) => {
      let body = '';
      request.on('data', (part) => (body += part)).on('end', () => {
        const report = JSON.parse(body);
        if (!told.some(({ id }) => id === report.id)) told.push(report);
        response.end();
      });
    });
    await new Promise((resolve) => application.listen(0, '127.0.0.1', resolve));
    standin = await startStandin();
    redis = await startRedis();
    [ours] = await standin.tenants();
    nodes = [];
    for (let i = 0; i < 3; i++) await add();
  });
  after(async () => {
    for (const node of nodes ?? []) await node.stop();
    await redis?.stop();
    await standin?.stop();
    application?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test('a room is occupied with its first browser at any node and vacated with the last', async () => {
    const [ana, ben] = ours.users;
    const [open, other] = ours.conversations;
    const first = await enter(nodes[0], ana, open);
    await becomes(open, 'room_occupied');
    const second = await enter(nodes[1], ben, open);
    await looked(nodes[2], ana, other);
    first.close();
    await looked(nodes[0], ana, other);
    assert.deepEqual(of(open), ['room_occupied']);
    second.close();
    await becomes(open, 'room_occupied', 'room_vacated');
    assert.deepEqual(all(open), ['room_occupied', 'room_vacated']);
  });

  test('the rooms of a leader that dies are vacated, and others go on', async () => {
    const [ana, ben] = ours.users;
    const [open, other] = ours.conversations;
    const leader = nodes.findIndex(leads);
    const rest = nodes.filter((_, i) => i !== leader);
    await enter(nodes[leader], ana, open);
    const stays = await enter(rest[0], ben, other);
    const before = [of(open), of(other)];
    await becomes(open, ...before[0], 'room_occupied');
    await nodes[leader].program.signal('SIGKILL');
    nodes[leader].disconnectClients();
    nodes.splice(leader, 1);
    await becomes(open, ...before[0], 'room_occupied', 'room_vacated');
    stays.close();
    await becomes(other, ...before[1], 'room_occupied', 'room_vacated');
  });

  test('a leader that stops in order hands over, and browsers that come back at once have not left', async () => {
    const [ana] = ours.users;
    const [open] = ours.conversations;
    const node = await add();
    await looked(node, ana, open);
    const before = of(open);
    const leader = nodes.findIndex((candidate) => candidate !== node && leads(candidate));
    await enter(nodes[leader], ana, open);
    await becomes(open, ...before, 'room_occupied');
    const stopping = nodes[leader].program.signal('SIGTERM');
    const back = await enter(node, ana, open);
    nodes[leader].disconnectClients();
    await stopping;
    nodes.splice(leader, 1);
    await until('another leads', () => nodes.some(leads));
    back.close();
    await becomes(open, ...before, 'room_occupied', 'room_vacated');
  });
});
