// Who a client is and what it may enter: tokens from every place frontends keep them, rooms by rule, rights that end, limits.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { createChunks, createServerClient } from '@supabase/ssr';
import WebSocket from 'ws';
import { startBridge } from './harness/bridge.mjs';
import { startStandin } from './harness/standin.mjs';
import { anonKey, userToken } from './harness/tokens.mjs';

let standin, ours, theirs, open, ana, ben;

before(async () => {
  standin = await startStandin();
  [ours, theirs] = await standin.tenants();
  [open] = ours.conversations;
  [ana, ben] = ours.users;
});
after(() => standin?.stop());

// signIn gives the Cookie header of a browser that has signed in by Supabase's own library for servers.
async function signIn(url) {
  const jar = new Map();
  const supabase = createServerClient(url, anonKey, {
    realtime: { transport: WebSocket }, // Node 20 has none of its own
    cookies: {
      getAll: () => [...jar].map(([name, value]) => ({ name, value })),
      setAll: (cookies) => cookies.forEach(({ name, value }) => (value ? jar.set(name, value) : jar.delete(name))),
    },
  });
  const { error } = await supabase.auth.signInWithPassword({ email: 'ana@harbour.example', password: 'password' });
  assert.equal(error, null);
  return jar;
}

const header = (jar) => [...jar].map(([name, value]) => `${name}=${value}`).join('; ');

describe('credentials', () => {
  let bridge;

  before(async () => {
    bridge = await startBridge(standin, {
      SUPABRIDGE_AUTH_CREDENTIALS: 'auth.token,auth.session.access_token,header.authorization,query.token,cookie.sb-*-auth-token,event',
      SUPABRIDGE_AUTH_AUTHENTICATE_WITHIN: '1s',
      SUPABRIDGE_AUTH_REFUSE_MESSAGES: 'token_expired=jwt expired,no_token=Authentication required',
      SUPABRIDGE_SOCKETIO_CORS_ORIGINS: 'https://app.example.com',
    });
  });
  after(() => bridge?.stop());
  afterEach(() => bridge.disconnectClients());

  const enters = async (client) => {
    await client.next('connect');
    assert.equal((await client.ask('join_conversation', open)).success, true);
  };

  for (const [place, options] of Object.entries({
    'auth.token': () => ({ auth: { token: ana.token } }),
    'further in the auth object': () => ({ auth: { session: { access_token: ana.token } } }),
    'a header': () => ({ extraHeaders: { authorization: `Bearer ${ana.token}` } }),
    'the query': () => ({ query: { token: ana.token } }),
  })) {
    for (const transports of [['polling'], ['websocket']]) {
      test(`a token in ${place} by ${transports}`, () => enters(bridge.connect(undefined, { ...options(), transports })));
    }
  }

  test("the session cookie of Supabase's own library", async () => {
    const jar = await signIn(standin.url);
    assert.deepEqual([...jar.keys()], ['sb-127-auth-token']);
    assert.match([...jar.values()][0], /^base64-/);
    await enters(bridge.connect(undefined, { extraHeaders: { cookie: `theme=dark; ${header(jar)}` } }));
  });

  test('that cookie in chunks', async () => {
    const [[name, value]] = await signIn(standin.url);
    const chunks = new Map(createChunks(name, value, 300).map((chunk) => [chunk.name, chunk.value]));
    assert.ok(chunks.size > 1 && chunks.has(`${name}.1`));
    await enters(bridge.connect(undefined, { extraHeaders: { cookie: header(chunks) }, transports: ['websocket'] }));
  });

  test('an authenticate event, before which nothing is allowed', async () => {
    const client = bridge.connect();
    await client.next('connect');
    const refused = await client.ask('join_conversation', open);
    assert.deepEqual([refused.success, refused.code], [false, 'unauthorized']);
    client.tell('authenticate', { token: ana.token });
    assert.equal((await client.next('authenticated')).userId, ana.id);
    assert.equal((await client.ask('join_conversation', open)).success, true);
    const row = await standin.write(open, 'to one who authenticated by an event');
    await client.next('new_message', (message) => message.id === row.id);
    const [late] = [bridge.connect()]; // a witness: its time ends after that of the other
    await late.next('disconnect');
    assert.equal(client.socket.connected, true);
  });

  test('whoever sends no token in time is told so and disconnected', async () => {
    const client = bridge.connect();
    await client.next('connect');
    client.tell('authenticate', { token: 'forged' });
    assert.equal((await client.next('unauthorized')).code, 'unauthorized');
    const told = await client.next('unauthorized');
    assert.deepEqual(told, { message: 'Authentication required', code: 'no_token' });
    assert.equal(await client.next('disconnect'), 'io server disconnect');
  });

  test('a refusal in the text that the frontend compares', async () => {
    const expired = userToken({ id: ana.id, name: ana.name, tenant: ours.id }, { seconds: -60 });
    const error = await bridge.connect(expired).next('connect_error');
    assert.deepEqual([error.message, error.data.code], ['jwt expired', 'token_expired']);
    const forged = await bridge.connect('a.b.c').next('connect_error');
    assert.deepEqual([forged.message, forged.data.code], ['Authentication error', 'unauthorized']);
  });

  test('a new token by access_token and by token:refresh', async () => {
    const client = bridge.connect(ana.token);
    await client.next('connect');
    assert.equal((await client.ask('access_token', { token: ana.token })).success, true);
    client.tell('token:refresh', { token: ana.token });
    assert.equal((await client.next('token:refresh:success')).userId, ana.id);
    client.tell('token:refresh', { token: ben.token });
    assert.equal((await client.next('token:refresh:error')).code, 'unauthorized');
  });
});
