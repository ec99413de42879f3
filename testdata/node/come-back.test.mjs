// What passes by itself must not stop an unmodified socket.io-client, which never tries again after a connect_error.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { startBridge } from './harness/bridge.mjs';
import { until } from './harness/program.mjs';
import { startStandin } from './harness/standin.mjs';
import { anonKey, userToken } from './harness/tokens.mjs';

let standin, ours, open, ana;

before(async () => {
  standin = await startStandin();
  [ours] = await standin.tenants();
  [open] = ours.conversations;
  [ana] = ours.users;
});
after(() => standin?.stop());

// signIn gives a token of the stand-in's auth service, signed with whatever key it uses now.
async function signIn() {
  const answer = await fetch(`${standin.url}/auth/v1/token?grant_type=password`, {
    method: 'POST',
    headers: { apikey: anonKey, 'Content-Type': 'application/json' },
    body: JSON.stringify({ email: 'ana@harbour.example', password: 'password' }),
  });
  return (await answer.json()).access_token;
}

const rotate = () => fetch(`${standin.url}/admin/keys`, { method: 'POST' });
const count = (client, name) => client.events.filter((event) => event.name === name).length;

for (const transports of [['websocket'], ['polling', 'websocket'], ['polling']]) {
  describe(`by ${transports}`, () => {
    test('published keys that answer 503 for a while', async () => {
      await rotate();
      let away = true;
      let asked = 0;
      const keys = createServer(async (request, response) => {
        asked++;
        if (away) return response.writeHead(503).end('<html>no healthy upstream</html>');
        response.end(await (await fetch(`${standin.url}/auth/v1/.well-known/jwks.json`)).text());
      });
      await new Promise((resolve) => keys.listen(0, '127.0.0.1', resolve));
      const bridge = await startBridge(standin, { SUPABASE_JWT_SECRET: '', SUPABRIDGE_SUPABASE_JWKS_URL: `http://127.0.0.1:${keys.address().port}/jwks` });
      try {
        const clients = [];
        for (let i = 0; i < 5; i++) clients.push(bridge.connect(undefined, { transports, auth: async (give) => give({ token: await signIn() }) }));
        for (const client of clients) await client.next('disconnect', () => true, 30); // it was turned away, and comes again
        for (const client of clients) {
          assert.equal(client.socket.active, true);
          assert.equal(count(client, 'connect_error'), 0);
        }
        assert.ok(asked <= 30, `the keys were asked for ${asked} times`);
        away = false;
        for (const client of clients) await client.next('connect', () => true, 60);
        assert.equal((await clients[0].ask('join_conversation', open)).success, true);
      } finally {
        await bridge.stop();
        keys.close();
      }
    });

    test('a user with too many connections', async () => {
      const bridge = await startBridge(standin, { SUPABRIDGE_LIMITS_USER_CONNECTIONS: '1' });
      try {
        const token = userToken({ id: ana.id, name: ana.name, tenant: ours.id });
        const first = bridge.connect(token, { transports });
        await first.next('connect');
        const began = Date.now();
        const second = bridge.connect(token, { transports });
        await second.next('disconnect', () => true, 30);
        await second.next('disconnect', () => true, 30);
        assert.ok(Date.now() - began >= 4000, `turned away twice in ${Date.now() - began} ms`); // 2 s each at least
        assert.equal(second.socket.active, true);
        assert.equal(count(second, 'connect_error'), 0);
        first.close();
        await second.next('connect', () => true, 60);
      } finally {
        await bridge.stop();
      }
    });

    test('an address with too many connections', async () => {
      const bridge = await startBridge(standin, { SUPABRIDGE_LIMITS_ADDRESS_CONNECTIONS: '1' });
      try {
        const token = userToken({ id: ana.id, name: ana.name, tenant: ours.id });
        const first = bridge.connect(token, { transports });
        await first.next('connect');
        const second = bridge.connect(token, { transports });
        await second.next('connect_error');
        assert.equal(second.socket.active, true); // refused before it was a connection: socket.io-client tries again
        first.close();
        await second.next('connect', () => true, 60);
      } finally {
        await bridge.stop();
      }
    });
  });
}

test('keys that rotate twice in a row', async () => {
  const bridge = await startBridge(standin, { SUPABASE_JWT_SECRET: '' });
  try {
    for (let i = 0; i < 3; i++) {
      await rotate();
      const client = bridge.connect(undefined, { auth: async (give) => give({ token: await signIn() }) });
      await client.next('connect');
      assert.equal(count(client, 'connect_error'), 0);
      client.close();
    }
  } finally {
    await bridge.stop();
  }
});

test('a token within the leeway connects once, and is refused once the leeway is over', async () => {
  const bridge = await startBridge(standin, { SUPABRIDGE_AUTH_LEEWAY: '6s' });
  try {
    const client = bridge.connect(userToken({ id: ana.id, name: ana.name, tenant: ours.id }, { seconds: -1 }));
    await client.next('connect');
    const error = await client.next('connect_error', () => true, 30);
    assert.equal(error.data.code, 'token_expired');
    assert.equal(count(client, 'connect'), 1);
  } finally {
    await bridge.stop();
  }
});

test('what is wrong for good still says so', async () => {
  const bridge = await startBridge(standin);
  try {
    const error = await bridge.connect('abc').next('connect_error');
    assert.equal(error.data.code, 'unauthorized');
    await until('another reason', async () => (await bridge.connect().next('connect_error')).data.code === 'no_token');
  } finally {
    await bridge.stop();
  }
});
