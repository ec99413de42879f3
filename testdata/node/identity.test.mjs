// Who a client is and what it may enter: tokens from every place frontends keep them, rooms by rule, rights that end, limits.
import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { createServer } from 'node:http';
import { after, afterEach, before, describe, test } from 'node:test';
import { createChunks, createServerClient } from '@supabase/ssr';
import WebSocket from 'ws';
import { startBridge } from './harness/bridge.mjs';
import { freePort, until } from './harness/program.mjs';
import { rows, startStandin } from './harness/standin.mjs';
import { anonKey, mint, userToken } from './harness/tokens.mjs';

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
      SUPABRIDGE_AUTH_LEEWAY: '0s', // a connection outlives its token by it
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

  test('a connection ends with the token that an event brought', async () => {
    const client = bridge.connect(undefined, { reconnection: false });
    await client.next('connect');
    const short = userToken({ id: ana.id, name: ana.name, tenant: ours.id }, { seconds: 3 });
    assert.equal((await client.ask('authenticate', { token: short })).success, true);
    await client.next('token_expiring');
    assert.equal(await client.next('disconnect'), 'transport close');
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

describe('a project that moved to asymmetric keys', () => {
  let bridge, keys, asked;
  const key = (kid) => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    return { kid, privateKey, jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' } };
  };
  const [first, second, forger] = [key('first'), key('second'), key('first')];
  let published = [first];

  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = ({ kid, privateKey }, named = kid) => {
    const claims = { aud: 'authenticated', role: 'authenticated', sub: ana.id, app_metadata: { distributor_id: ours.id } };
    const body = `${encode({ alg: 'ES256', typ: 'JWT', kid: named })}.${encode({ ...claims, exp: Math.floor(Date.now() / 1000) + 3600 })}`;
    return `${body}.${sign('sha256', Buffer.from(body), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
  };

  before(async () => {
    asked = 0;
    keys = createServer((_, response) => {
      asked++;
      response.end(JSON.stringify({ keys: published.map(({ jwk }) => jwk) }));
    });
    await new Promise((resolve) => keys.listen(0, '127.0.0.1', resolve));
    bridge = await startBridge(standin, { SUPABRIDGE_SUPABASE_JWKS_URL: `http://127.0.0.1:${keys.address().port}/jwks.json` });
  });
  after(async () => {
    await bridge?.stop();
    keys?.close();
  });
  afterEach(() => bridge.disconnectClients());

  test('takes tokens of both kinds, finds a new key, and is not made to ask for made-up ones', async () => {
    await bridge.connect(ana.token).next('connect');
    assert.equal(asked, 0);
    await bridge.connect(signed(first)).next('connect');
    published = [first, second];
    await bridge.connect(signed(second)).next('connect');
    await bridge.connect(signed(first)).next('connect');
    const before = asked;
    const forged = [signed(forger), signed(forger, 'second'), ...Array.from({ length: 40 }, (_, i) => signed(forger, `made up ${i}`))];
    const refused = await Promise.all(forged.map((token) => bridge.connect(token, { reconnection: false }).next('connect_error', () => true, 30)));
    for (const error of refused) assert.equal(error.data.code, 'unauthorized');
    assert.ok(asked - before <= 12, `${forged.length} made-up keys had the keys read ${asked - before} times`);
  });
});

describe('rooms by a table of members', () => {
  let bridge;

  before(async () => {
    bridge = await startBridge(standin, {
      SUPABRIDGE_ROOMS_TENANT_RULES: 'membership',
      SUPABRIDGE_ROOMS_TENANT_MEMBERSHIP_TABLE: 'users',
      SUPABRIDGE_ROOMS_TENANT_MEMBERSHIP_USER: 'id',
      SUPABRIDGE_ROOMS_TENANT_MEMBERSHIP_ROOM: 'distributor_id',
      SUPABRIDGE_ROOMS_CONVERSATION_RULES: 'tenant',
      SUPABRIDGE_ROOMS_AUTHORIZATION_RECHECK_EVERY: '200ms',
      SUPABRIDGE_ROOMS_AUTHORIZATION_REFUSED_FOR: '0s', // a right just given counts at once
    });
  });
  after(() => bridge?.stop());
  afterEach(() => bridge.disconnectClients());

  // A token that says nothing of a tenant.
  const plain = (user) => mint({ aud: 'authenticated', role: 'authenticated', sub: user.id });
  const move = async (user, tenant) => rows(await standin.service.from('users').update({ distributor_id: tenant.id }).eq('id', user.id));

  test('a member enters the tenant and its conversations, and loses them with the membership', async () => {
    const client = bridge.connect(plain(ben));
    await client.next('connect');
    assert.equal((await client.ask('join_distributor', { distributorId: ours.id })).success, true);
    assert.equal((await client.ask('join_conversation', open)).success, true);
    for (const [event, id] of [
      ['join_distributor', theirs.id],
      ['join_conversation', theirs.conversations[0]],
    ]) {
      assert.equal((await client.ask(event, id)).code, 'forbidden');
    }
    const seen = await standin.write(open, 'to a member');
    await client.next('new_message', (message) => message.id === seen.id);
    await move(ben, theirs);
    try {
      assert.equal((await client.next('error', (error) => error.conversationId)).conversationId, open);
      const told = await client.next('error', (error) => error.distributorId);
      assert.deepEqual([told.code, told.distributorId], ['access_lost', ours.id]);
      assert.equal((await client.ask('join_conversation', open)).code, 'forbidden');
      assert.equal((await client.ask('join_conversation', theirs.conversations[0])).success, true);
      const hidden = await standin.write(open, 'to members only');
      const last = await standin.write(theirs.conversations[0], 'to the new tenant');
      await client.next('new_message', (message) => message.id === last.id);
      assert.ok(!client.events.some((event) => event.name === 'new_message' && event.args[0].id === hidden.id));
    } finally {
      await move(ben, ours);
    }
  });
});

describe("rooms by the application's word", () => {
  const secret = 'a secret of sixteen bytes or more';
  let bridge, app, members;
  const questions = [];

  before(async () => {
    members = new Set();
    app = createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      const [, t, v1] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(request.headers['x-bridge-signature']);
      const question = JSON.parse(body);
      questions.push({ question, signed: createHmac('sha256', secret).update(`${t}.${body}`).digest('hex') === v1 });
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ allow: members.has(`${question.user.id} ${question.room.kind} ${question.room.id}`) }));
    });
    await new Promise((resolve) => app.listen(0, '127.0.0.1', resolve));
    bridge = await startBridge(standin, {
      SUPABRIDGE_ROOMS_CONVERSATION_RULES: 'rls,callback',
      SUPABRIDGE_ROOMS_AUTHORIZATION_CALLBACK_URL: `http://127.0.0.1:${app.address().port}/may-enter`,
      SUPABRIDGE_ROOMS_AUTHORIZATION_CALLBACK_SECRET: secret,
      SUPABRIDGE_ROOMS_AUTHORIZATION_REFUSED_FOR: '0s',
    });
  });
  after(async () => {
    await bridge?.stop();
    app?.close();
  });
  afterEach(() => bridge.disconnectClients());

  test('is asked where Row Level Security says no', async () => {
    const client = bridge.connect(ana.token);
    await client.next('connect');
    assert.equal((await client.ask('join_conversation', open)).success, true);
    assert.equal(questions.length, 0);
    const [foreign] = theirs.conversations;
    assert.equal((await client.ask('join_conversation', foreign)).code, 'forbidden');
    members.add(`${ana.id} conversation ${foreign}`);
    assert.equal((await client.ask('join_conversation', foreign)).success, true);
    assert.ok(questions.every(({ signed }) => signed));
    assert.deepEqual(questions[0].question, {
      user: { id: ana.id, name: ana.name, role: 'authenticated', tenant: ours.id },
      room: { kind: 'conversation', id: foreign },
    });
    const row = await standin.write(foreign, 'to a guest');
    await client.next('new_message', (message) => message.id === row.id);
  });
});

describe('rights that end', () => {
  let bridge;

  before(async () => {
    bridge = await startBridge(standin);
  });
  after(() => bridge?.stop());
  afterEach(() => bridge.disconnectClients());

  test('a conversation that goes to another tenant leaves its readers behind, at once', async () => {
    const moving = rows(
      await standin.service.from('conversations').insert({ distributor_id: ours.id, customer_name: 'Moving' }).select().single(),
    ).id;
    const [reader, heir] = [bridge.connect(ana.token), bridge.connect(theirs.users[0].token)];
    await Promise.all([reader.next('connect'), heir.next('connect')]);
    assert.equal((await reader.ask('join_conversation', moving)).success, true);
    assert.equal((await reader.ask('join_conversation', open)).success, true);
    assert.equal((await heir.ask('join_conversation', moving)).code, 'forbidden');
    rows(await standin.service.from('conversations').update({ distributor_id: theirs.id }).eq('id', moving));
    assert.deepEqual(await reader.next('error'), {
      code: 'access_lost',
      message: 'you may not be in this room any more',
      conversationId: moving,
    });
    assert.equal((await heir.ask('join_conversation', moving)).success, true);
    const hidden = await standin.write(moving, 'of the new tenant');
    await heir.next('new_message', (message) => message.id === hidden.id);
    const last = await standin.write(open, 'of the old one');
    await reader.next('new_message', (message) => message.id === last.id);
    assert.ok(!reader.events.some((event) => event.name === 'new_message' && event.args[0].id === hidden.id));
  });

  test('a token that says less takes its holder out of what it does not allow', async () => {
    const client = bridge.connect(ana.token);
    await client.next('connect');
    assert.equal((await client.ask('join_conversation', open)).success, true);
    const less = userToken({ id: ana.id, name: ana.name, tenant: theirs.id });
    assert.equal((await client.ask('access_token', { token: less })).success, true);
    assert.equal((await client.next('error')).code, 'access_lost');
    assert.equal((await client.ask('typing_start', open)).code, 'not_joined');
  });
});

describe('limits', () => {
  let bridge;

  before(async () => {
    bridge = await startBridge(standin, {
      SUPABRIDGE_LIMITS_SOCKET_ROOMS: '2',
      SUPABRIDGE_LIMITS_SOCKET_EVENTS: 'typing_start=0.01:3',
      SUPABRIDGE_LIMITS_SOCKET_EVENT_SIZE: '1KiB',
      SUPABRIDGE_LIMITS_USER_CONNECTIONS: '2',
      SUPABRIDGE_LIMITS_ADDRESS_CONNECTIONS: '3',
      SUPABRIDGE_LIMITS_TRUSTED_PROXIES: '127.0.0.0/8',
      SUPABRIDGE_OPS_LISTEN: `127.0.0.1:${(opsPort = await freePort())}`,
    });
  });
  after(() => bridge?.stop());
  afterEach(() => bridge.disconnectClients());

  let opsPort;
  let address = 0;
  // Each test comes from an address of its own, as a proxy would name it.
  const from = (host) => ({ extraHeaders: { 'x-forwarded-for': `203.0.113.99, ${host}` }, reconnection: false });
  const host = () => `198.51.100.${++address}`;

  test('what is too much is refused by its own code, and the connection stays', async () => {
    const client = bridge.connect(ana.token, from(host()));
    await client.next('connect');
    for (const id of ours.conversations.slice(0, 2)) assert.equal((await client.ask('join_conversation', id)).success, true);
    assert.equal((await client.ask('join_conversation', ours.conversations[2])).code, 'too_many_rooms');
    assert.equal((await client.ask('mark_read', { conversationId: open, note: 'x'.repeat(1024) })).code, 'payload_too_large');
    for (let i = 0; i < 3; i++) assert.equal((await client.ask('typing_start', open)).success, true);
    const refused = await client.ask('typing_start', open);
    assert.deepEqual([refused.success, refused.code, refused.error], [false, 'rate_limited', 'too many events; slow down']);
    const row = await standin.write(open, 'still here');
    await client.next('new_message', (message) => message.id === row.id);
    const metrics = await (await fetch(`http://127.0.0.1:${opsPort}/metrics`)).text();
    assert.match(metrics, /supabridge_limits_exceeded_total\{intent="typing_start",limit="socket.events"\} 1/);
  });

  test('connections of one user', async () => {
    const [first, second] = [bridge.connect(ana.token, from(host())), bridge.connect(ana.token, from(host()))];
    await Promise.all([first.next('connect'), second.next('connect')]);
    const third = bridge.connect(ana.token, { ...from(host()), reconnection: true });
    await third.next('disconnect'); // it is turned away for a while, without a connect_error, which would stop it
    assert.equal(third.socket.active, true);
    await bridge.connect(ben.token, from(host())).next('connect');
    first.close();
    await third.next('connect', () => true, 30);
  });

  for (const transports of [['polling'], ['websocket']]) {
    test(`connections of one address, by ${transports}`, async () => {
      const here = host();
      const users = [ana, ben, ours.users[2]];
      for (const user of users) await bridge.connect(user.token, { ...from(here), transports }).next('connect');
      const error = await bridge.connect(theirs.users[0].token, { ...from(here), transports }).next('connect_error');
      assert.match(error.message, /^(xhr poll|websocket) error$/);
      await bridge.connect(theirs.users[0].token, { ...from(host()), transports }).next('connect');
    });
  }
});
