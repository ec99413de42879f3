// What ops see: health, readiness, a restarted Supabase, a clean stop, and a log without secrets.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launchBridge, startBridge } from './harness/bridge.mjs';
import { Program } from './harness/program.mjs';
import { startStandin } from './harness/standin.mjs';
import { jwtSecret, serviceKey } from './harness/tokens.mjs';

describe('operation', () => {
  let standin, ours, open;

  before(async () => {
    standin = await startStandin();
    [ours] = await standin.tenants();
    [open] = ours.conversations;
  });
  after(() => standin?.stop());

  const joined = async (bridge, options) => {
    const client = bridge.connect(ours.users[0].token, options);
    await client.next('connect');
    assert.equal((await client.ask('join_conversation', open)).success, true);
    return client;
  };
  const arrives = async (client, content) => {
    const row = await standin.write(open, content);
    await client.next('new_message', (payload) => payload.id === row.id);
  };

  test('a killed and restarted Supabase is found again and rows flow, while the browsers stay connected', async () => {
    const bridge = await startBridge(standin);
    const client = await joined(bridge);
    await arrives(client, 'before the kill');

    await standin.kill();
    await bridge.program.answers(`${bridge.url}/readyz`, 503);
    await bridge.program.answers(`${bridge.url}/healthz`, 200);
    await standin.start();
    await bridge.ready();
    await arrives(client, 'after the restart');
    assert.ok(!client.events.some((event) => event.name === 'disconnect'));
    await bridge.stop();
  });

  test('a bridge started before Supabase is not ready until Supabase is there', async () => {
    const late = await startStandin();
    await late.stop();
    const bridge = await launchBridge(late);
    await bridge.program.answers(`${bridge.url}/healthz`, 200);
    await bridge.program.answers(`${bridge.url}/readyz`, 503);
    await late.start();
    await bridge.ready();
    await bridge.stop();
    await late.stop();
  });

  for (const transport of ['websocket', 'polling']) {
    test(`SIGTERM tells the browsers and ends with status 0: ${transport}`, async () => {
      const bridge = await startBridge(standin);
      const client = await joined(bridge, { transports: [transport], reconnection: false });
      const ended = bridge.program.signal('SIGTERM');
      await client.next('disconnect');
      assert.deepEqual(await ended, { code: 0, signal: null });
    });
  }

  test('the log has one JSON line for each event and neither tokens nor message bodies', async () => {
    const bridge = await startBridge(standin);
    const client = await joined(bridge);
    await arrives(client, 'the-body-of-a-message');
    const stranger = bridge.connect('not-a-valid-token-at-all', { reconnection: false });
    await stranger.next('connect_error');
    client.close();
    await bridge.stop();

    const { output, lines } = bridge.program;
    assert.ok(lines.length > 0 && lines.every((line) => line.level && line.message), output);
    for (const [what, secret] of [
      ['the token of the user', ours.users[0].token],
      ['the signature of that token', ours.users[0].token.split('.')[2]],
      ['the service key', serviceKey],
      ['the JWT secret', jwtSecret],
      ['a refused credential', 'not-a-valid-token-at-all'],
      ['the body of a message', 'the-body-of-a-message'],
    ]) {
      assert.ok(!output.includes(secret), `the log holds ${what}`);
    }
    assert.ok(output.includes(open), 'the join of the conversation is in the log');
  });

  test('a port in use is said plainly', async () => {
    const second = Program.start(['standin', '--listen', `127.0.0.1:${standin.port}`]);
    const { code } = await second.ended;
    assert.notEqual(code, 0);
    assert.match(second.output, /in use/);
    assert.ok(second.output.includes(String(standin.port)));
  });
});
