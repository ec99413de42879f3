// A connection lives as long as its token, and goes on with a new one.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { startBridge } from './harness/bridge.mjs';
import { startStandin } from './harness/standin.mjs';
import { mint, userToken } from './harness/tokens.mjs';

describe('token expiry', () => {
  let standin, bridge, ours, open, user;

  before(async () => {
    standin = await startStandin();
    bridge = await startBridge(standin, { SUPABRIDGE_AUTH_LEEWAY: '0s' }); // a connection outlives its token by it
    [ours] = await standin.tenants();
    [open] = ours.conversations;
    user = ours.users[0];
  });
  after(async () => {
    await bridge?.stop();
    await standin?.stop();
  });
  afterEach(() => bridge.disconnectClients());

  const token = (seconds) => userToken({ id: user.id, name: user.name, tenant: ours.id }, { seconds });

  test('a client whose auth is a function comes back by itself, in its rooms', async () => {
    const tokens = [token(3), token(3600)];
    const client = bridge.connect(undefined, { auth: (give) => give({ token: tokens.shift() }) });
    await client.next('connect');
    assert.equal((await client.ask('join_conversation', open)).success, true);
    await client.next('token_expiring');
    await client.next('disconnect', (reason) => reason === 'transport close');
    await client.next('connect');
    assert.equal(client.socket.recovered, true);
    const row = await standin.write(open, 'after the renewal');
    await client.next('new_message', (message) => message.id === row.id);
  });

  test('a client that sends a new token in time stays connected', async () => {
    const client = bridge.connect(token(3));
    await client.next('connect');
    const answer = await client.ask('access_token', { token: token(3600) });
    assert.equal(answer.success, true);
    assert.ok(Date.parse(answer.expiresAt) > Date.now() + 3_000_000);
    const ends = bridge.connect(token(3)); // a witness: its token ends after the other's first one
    await ends.next('connect');
    await ends.next('disconnect');
    assert.equal(client.socket.connected, true);
    assert.ok(!client.events.some((event) => event.name === 'disconnect'));
  });

  test('a client with an expired token is refused in words', async () => {
    const client = bridge.connect(token(-60));
    const error = await client.next('connect_error');
    assert.equal(error.message, 'Authentication error');
    assert.equal(error.data.code, 'token_expired');
  });

  test('a token of another secret is refused', async () => {
    const forged = mint({ aud: 'authenticated', role: 'authenticated', sub: user.id }, { secret: 'another-secret-of-at-least-32-characters' });
    const client = bridge.connect(forged);
    assert.equal((await client.next('connect_error')).message, 'Authentication error');
  });
});
