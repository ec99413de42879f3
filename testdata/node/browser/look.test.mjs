// What those who run it look at, in a real browser: Socket.IO's own Admin UI, and the status page of the ops port.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { startBridge } from '../harness/bridge.mjs';
import { startBrowser } from '../harness/browser.mjs';
import { serveFiles } from '../harness/files.mjs';
import { freePort } from '../harness/program.mjs';
import { startStandin } from '../harness/standin.mjs';

const require = createRequire(import.meta.url);
const adminUI = join(dirname(require.resolve('@socket.io/admin-ui')), '../ui/dist');
const bcrypt = createRequire(require.resolve('@socket.io/admin-ui'))('bcryptjs'); // which it brings along
const password = 'correct horse battery staple';
const screenshots = process.env.SCREENSHOTS; // a folder to keep pictures in

describe('looking at a running bridge', () => {
  let standin, files, browser, bridge, ops, ours, open;

  before(async () => {
    standin = await startStandin();
    files = await serveFiles(adminUI);
    ops = `http://127.0.0.1:${await freePort()}`;
    bridge = await startBridge(standin, {
      SUPABRIDGE_OPS_LISTEN: ops.slice('http://'.length),
      SUPABRIDGE_SOCKETIO_CORS_ORIGINS: files.url,
      SUPABRIDGE_SOCKETIO_ADMIN_USERNAME: 'ops',
      SUPABRIDGE_SOCKETIO_ADMIN_PASSWORD_HASH: bcrypt.hashSync(password, 8),
    });
    [ours] = await standin.tenants();
    [open] = ours.conversations;
    browser = await startBrowser();
  });
  afterEach(async () => {
    bridge?.disconnectClients();
    for (const context of browser?.chromium.contexts() ?? []) await context.close();
  });
  after(async () => {
    await browser?.stop();
    await bridge?.stop();
    await files?.stop();
    await standin?.stop();
  });

  // page opens an address in a context of its own. What is not on this machine is not fetched: the Admin UI asks for web fonts.
  const page = async (url, options) => {
    const context = await browser.chromium.newContext({ viewport: { width: 1280, height: 860 }, ...options });
    context.setDefaultTimeout(15_000);
    await context.route(/^https?:\/\/(?!127\.0\.0\.1)/, (route) => route.abort());
    const opened = await context.newPage();
    opened.problems = [];
    opened.on('pageerror', (error) => opened.problems.push(String(error)));
    await opened.goto(url);
    return opened;
  };

  const someone = async (user, room = open) => {
    const client = bridge.connect(ours.users[user].token);
    await client.next('connect');
    assert.equal((await client.ask('join_conversation', room)).success, true);
    return client;
  };

  const logIn = async (ui, secret) => {
    await ui.getByLabel('Server URL').fill(bridge.url);
    await ui.getByLabel('Username').fill('ops');
    await ui.getByLabel('Password').fill(secret);
    await ui.getByRole('button', { name: 'Connect' }).click();
  };

  test('the Admin UI shows servers, sockets, rooms and events as they happen, and disconnects', async () => {
    const first = await someone(0);
    const ui = await page(files.url);
    await logIn(ui, 'a wrong password');
    await ui.getByText('Invalid credentials').waitFor();
    await logIn(ui, password);

    const goTo = async (name, heading) => {
      await ui.evaluate((hash) => (location.hash = hash), `#/${name}`);
      await ui.locator('.v-breadcrumbs', { hasText: heading }).first().waitFor();
    };
    await goTo('servers/', 'Servers');
    await ui.locator('td', { hasText: new RegExp(`#\\d+$`) }).first().waitFor();

    await goTo('sockets/', 'Sockets');
    // The UI keeps the views it has left in the page; a row with an address is one of the sockets' own.
    const row = (client) => ui.locator('tr', { has: ui.getByText(client.socket.id, { exact: true }) }).filter({ hasText: '127.0.0.1' });
    await row(first).waitFor();
    const second = await someone(1);
    await row(second).waitFor();

    await row(first).locator('td').first().click();
    await ui.locator('pre', { hasText: ours.users[0].id }).waitFor();
    const shown = await ui.innerText('body');
    for (const token of [ours.users[0].token, ours.users[0].token.split('.')[2]]) assert.ok(!shown.includes(token), 'the token is shown');

    await goTo('rooms/', 'Rooms');
    await ui.locator('tr', { has: ui.getByText(`conversation:${open}`, { exact: true }) }).first().waitFor();

    await goTo('events/', 'Events');
    await standin.write(open, 'a body that nobody needs to see');
    await first.next('new_message');
    await ui.locator('code', { hasText: 'new_message' }).first().waitFor();
    first.tell('typing_start', open);
    await ui.locator('code', { hasText: 'typing_start' }).first().waitFor();
    assert.ok(!(await ui.innerText('body')).includes('a body that nobody needs to see'));
    assert.ok(!(await ui.innerText('body')).includes('\u0000'), 'a room of the bridge itself is shown');
    if (screenshots) await ui.screenshot({ path: join(screenshots, 'admin-ui-events.png') });

    await goTo('sockets/', 'Sockets');
    if (screenshots) await ui.screenshot({ path: join(screenshots, 'admin-ui-sockets.png') });
    const gone = row(first);
    await gone.getByRole('button').click();
    assert.equal(await first.next('disconnect'), 'io server disconnect');
    await gone.waitFor({ state: 'detached' });
    assert.ok(second.socket.connected);
    assert.ok(bridge.program.lines.some((line) => line.message === 'admin acted' && line.action === 'disconnect'), 'what was done is in the log');

    // It comes back by its session, without the password, after a reload.
    await ui.reload();
    await ui.locator('.v-breadcrumbs').first().waitFor();
    await goTo('sockets/', 'Sockets');
    await row(second).waitFor();
    assert.deepEqual(ui.problems, []);
  });

  test('without a user name there is no /admin', async () => {
    const plain = await startBridge(standin);
    const client = plain.connect(undefined, { reconnection: false });
    const admin = client.socket.io.socket('/admin', { auth: { username: 'ops', password } });
    const error = await new Promise((resolve) => admin.on('connect_error', resolve).connect());
    assert.equal(error.message, 'Invalid namespace');
    await plain.stop();
  });

  test('the status page follows the bridge without anything from elsewhere', async () => {
    const outside = [];
    const status = await page('about:blank');
    status.on('request', (request) => request.url().startsWith(ops) || request.url().startsWith('data:') || outside.push(request.url()));
    status.on('console', (message) => message.type() === 'error' && status.problems.push(message.text()));
    const first = await someone(0);
    await status.goto(`${ops}/`);
    await status.locator('#state[data-state="live"]').waitFor();
    await status.locator('#connections', { hasText: /^1$/ }).waitFor();
    await status.locator('#rooms td', { hasText: `conversation:${open}` }).waitFor();
    const second = await someone(1);
    await status.locator('#connections', { hasText: /^2$/ }).waitFor();

    for (let i = 0; i < 20; i++) await standin.write(open, `message ${i}`);
    await second.next('new_message');
    await status.locator('#latency path.median').waitFor({ state: 'attached' });
    await status.locator('#latency rect').first().waitFor();

    const standinPort = standin.port;
    await standin.kill();
    await status.locator('#state:not([data-state="live"])').waitFor();
    await status.locator('#problems .warn').first().waitFor();
    await standin.start();
    assert.equal(standin.port, standinPort);
    await bridge.ready();
    await status.locator('#state[data-state="live"]').waitFor();
    const text = await status.innerText('body');
    for (const { token } of ours.users) assert.ok(!text.includes(token.split('.')[2]), 'a token is shown');
    if (screenshots) await status.screenshot({ path: join(screenshots, 'status.png'), fullPage: true });
    assert.deepEqual(outside, []);
    assert.deepEqual(status.problems, []);

    const narrow = await page(`${ops}/`, { viewport: { width: 390, height: 780 } });
    await narrow.locator('#state[data-state="live"]').waitFor();
    assert.ok((await narrow.evaluate(() => document.documentElement.scrollWidth)) <= 390, 'it fits a telephone');
  });

  test('a page of another site can not look at the ops port', async () => {
    const stranger = await page(files.url);
    // Chromium sends it as it would for any page elsewhere; what comes back is what counts.
    const seen = await stranger.evaluate(async (url) => {
      const answers = [];
      for (const mode of ['cors', 'no-cors']) answers.push(await fetch(`${url}/status.json`, { mode }).then((r) => `${r.type} ${r.status} ${r.ok}`, (e) => e.name));
      return answers;
    }, ops);
    for (const answer of seen) assert.match(answer, /TypeError|opaque 0 false/);
    const named = await new Promise((resolve) => {
      import('node:http').then(({ get }) => get(`${ops}/metrics`, { headers: { Host: 'rebound.example.com' } }, (r) => (r.resume(), resolve(r.statusCode))));
    });
    assert.equal(named, 421);
  });
});
