// Twilio's own package signs what the bridge takes and validates what the bridge passes on; a server publishes; kill -9 between answer and delivery.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import twilio from 'twilio';
import { launchBridge, startBridge } from './harness/bridge.mjs';
import { freePort, until } from './harness/program.mjs';
import { rows, startStandin } from './harness/standin.mjs';

const token = '0123456789abcdef0123456789abcdef';
const secret = 'a secret between app and bridge';
const publicUrl = 'https://hooks.example.com';

// publish is what an application's server needs to send events to browsers.
async function publish(url, secret, event, rooms, data, options = {}) {
  const response = await fetch(`${url}/api/publish`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${secret}` },
    body: JSON.stringify({ event, rooms, data, ...options }),
    signal: AbortSignal.timeout(2000),
  });
  if (!response.ok) throw new Error(`publish ${event}: HTTP ${response.status}`);
  return (await response.json()).reached;
}

// random is a generator whose numbers are the same in every run.
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

describe('webhooks', () => {
  let standin, ours, open, folder;
  before(async () => {
    standin = await startStandin();
    [ours] = await standin.tenants();
    [open] = ours.conversations;
    folder = mkdtempSync(join(tmpdir(), 'supabridge-outbox-'));
  });
  after(async () => {
    await standin?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  let boxes = 0;
  const hooks = (env = {}) => ({
    SUPABRIDGE_WEBHOOKS_TWILIO_AUTH_TOKENS: token,
    SUPABRIDGE_WEBHOOKS_TWILIO_PUBLIC_URLS: publicUrl,
    SUPABRIDGE_WEBHOOKS_OUTBOX_PATH: join(folder, `outbox${boxes++}.db`),
    SUPABRIDGE_WEBHOOKS_TWILIO_STORE_CONVERSATION_FIND: 'customer_phone={FromNumber}',
    ...env,
  });
  const encode = (params) => {
    const form = new URLSearchParams();
    for (const [name, value] of Object.entries(params)) for (const one of [value].flat()) form.append(name, one);
    return form.toString();
  };
  const post = (bridge, params, { query = '', signature } = {}) =>
    fetch(`${bridge.url}/webhooks/twilio${query}`, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/x-www-form-urlencoded',
        'X-Twilio-Signature': signature ?? twilio.getExpectedTwilioSignature(token, `${publicUrl}/webhooks/twilio${query}`, params),
      },
      body: encode(params),
    });
  const message = (sid, body = 'hello') => ({ MessageSid: sid, SmsStatus: 'received', From: 'whatsapp:+15550111', To: 'whatsapp:+15550100', Body: body, NumMedia: '0' });

  test('what the twilio package signs is taken, whatever its names and values, and what it did not sign is not', async (t) => {
    // With the mode forward the application gets every form; the other modes refuse one that has no message.
    const app = createServer((request, response) => request.resume().on('end', () => response.end()));
    await new Promise((resolve) => app.listen(0, '127.0.0.1', resolve));
    t.after(() => app.close());
    const bridge = await startBridge(standin, hooks({ SUPABRIDGE_WEBHOOKS_TWILIO_MODES: 'forward', SUPABRIDGE_WEBHOOKS_TWILIO_FORWARD_URL: `http://127.0.0.1:${app.address().port}/` }));
    t.after(() => bridge.stop());
    const next = random(20260101);
    const letters = [...'aAbBzZ09_-.~ +&=;%#?/@:\'"<>\\\n\té漢\uffee🎉𐐷'];
    const word = (most) => Array.from({ length: Math.floor(next() * (most + 1)) }, () => letters[Math.floor(next() * letters.length)]).join('');
    const part = () => encodeURIComponent(word(4)).replaceAll("'", '%27'); // fetch would write it so, and Twilio signs what it sends
    for (let i = 0; i < 3000; i += 50) {
      await Promise.all(
        Array.from({ length: 50 }, async () => {
          const params = { Kind: 'generated' };
          for (let n = Math.floor(next() * 10); n > 0; n--) {
            params[word(8) || 'x'] = next() < 0.2 ? [word(6), word(6), 'twice', 'twice'] : word(20);
          }
          const query = next() < 0.5 ? `?${part()}=${part()}` : '';
          const taken = await post(bridge, params, { query });
          assert.equal(taken.status, 200, `${query} ${JSON.stringify(params)}`);
          await taken.arrayBuffer();
          const forged = await post(bridge, { ...params, Forged: '1' }, {
            query,
            signature: twilio.getExpectedTwilioSignature(token, `${publicUrl}/webhooks/twilio${query}`, params),
          });
          assert.equal(forged.status, 403);
          await forged.arrayBuffer();
        }),
      );
    }
  });

  test('what is passed on validates with the twilio package', async () => {
    const got = [];
    const app = createServer((request, response) => {
      let body = '';
      request.on('data', (part) => (body += part)).on('end', () => {
        const params = {};
        for (const [name, value] of new URLSearchParams(body)) params[name] = name in params ? [params[name], value].flat() : value;
        got.push(twilio.validateRequest(token, request.headers['x-twilio-signature'], `http://127.0.0.1:${port}${request.url}`, params));
        response.end();
      });
    });
    const port = await freePort();
    await new Promise((resolve) => app.listen(port, '127.0.0.1', resolve));
    const bridge = await startBridge(standin, hooks({ SUPABRIDGE_WEBHOOKS_TWILIO_MODES: 'forward', SUPABRIDGE_WEBHOOKS_TWILIO_FORWARD_URL: `http://127.0.0.1:${port}/api/twilio` }));
    for (let i = 0; i < 50; i++) {
      const answer = await post(bridge, { ...message(`SM${i}`, `é & + ${i}`), 'MessagingBinding.Address': ['b', 'a', 'b'] }, { query: i % 2 ? '?x=%27a' : '' });
      assert.equal(answer.status, 200);
      assert.match(await answer.text(), /<Response\/>$/);
    }
    await until('50 forwarded', () => got.length >= 50);
    assert.ok(got.every(Boolean), JSON.stringify(got));
    await bridge.stop();
    await new Promise((resolve) => app.close(resolve));
  });

  test('a message is stored, and a browser has it before long', async () => {
    const bridge = await startBridge(standin, hooks());
    const client = bridge.connect(ours.users[0].token);
    await client.next('connect');
    assert.equal((await client.ask('join_conversation', open)).success, true);
    await (await post(bridge, message('SMbrowser', 'to the browser'))).text();
    const payload = await client.next('new_message');
    assert.equal(payload.content, 'to the browser');
    await bridge.stop();
  });

  test('a server publishes with ten lines', async () => {
    const bridge = await startBridge(standin, { SUPABRIDGE_PUBLISH_SECRET: secret });
    const client = bridge.connect(ours.users[0].token);
    await client.next('connect');
    assert.equal((await client.ask('join_conversation', open)).success, true);
    assert.equal(await publish(bridge.url, secret, 'invoice_ready', `conversation:${open}`, { id: 7 }), 1);
    assert.deepEqual(await client.next('invoice_ready'), { id: 7 });
    await assert.rejects(publish(bridge.url, 'wrong', 'x', 'y', 1), /401/);
    await bridge.stop();
  });

  test('killed a hundred times after the answer, each message is stored exactly once', async () => {
    const env = hooks();
    const answered = [];
    for (let life = 0; life < 100; life++) {
      const bridge = await launchBridge(standin, env);
      await bridge.program.answers(`${bridge.url}/healthz`, 200);
      for (let i = 0; i <= life % 3; i++) {
        const sid = `SMkill${life}x${i}`;
        assert.equal((await post(bridge, message(sid))).status, 200);
        answered.push(sid);
      }
      await bridge.program.signal('SIGKILL');
    }
    const bridge = await startBridge(standin, env);
    const stored = async () => rows(await standin.service.from('messages').select('external_message_id').like('external_message_id', 'SMkill%')).map((row) => row.external_message_id);
    await until('all stored', async () => (await stored()).length >= answered.length);
    assert.deepEqual((await stored()).sort(), answered.sort());
    await bridge.stop();
  });
});
