// A page of another site in a real browser reads nothing of `supabridge dev`; the Next.js app's page on another port of localhost does.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { startDev } from './harness/dev.mjs';
import { executable } from './harness/browser.mjs';

const script = readFileSync(new URL('./node_modules/socket.io-client/dist/socket.io.min.js', import.meta.url));
let dev, site, browser;

before(async () => {
  dev = await startDev({ flags: ['--no-traffic'] });
  site = createServer((request, response) => {
    if (request.url === '/socket.io.js') return response.writeHead(200, { 'Content-Type': 'text/javascript' }).end(script);
    response.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><script src="/socket.io.js"></script>');
  });
  await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve));
  const port = new URL(dev.url).port;
  // evil.example is the other site, rebound.example a name that another site lets point at this machine.
  browser = await chromium.launch({
    executablePath: executable(),
    args: ['--no-sandbox', '--disable-gpu', `--host-resolver-rules=MAP evil.example 127.0.0.1, MAP rebound.example:${port} 127.0.0.1:${port}`],
  });
});
after(async () => {
  await browser?.close();
  await new Promise((resolve) => (site ? site.close(resolve) : resolve()));
  await dev?.stop();
});

// connects tells whether a page gets a socket.
async function connects(from, to, transports) {
  const page = await browser.newPage();
  try {
    await page.goto(from);
    return await page.evaluate(
      ([address, by]) =>
        new Promise((resolve) => {
          const socket = window.io(address, { transports: by, reconnection: false });
          socket.on('connect', () => resolve('connected'));
          socket.on('connect_error', () => resolve('refused'));
        }),
      [to, transports],
    );
  } finally {
    await page.close();
  }
}

for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
  test(`by ${transports}`, async () => {
    const { port } = new URL(dev.url);
    const own = site.address().port;
    for (const name of ['localhost', '127.0.0.1']) {
      assert.equal(await connects(`http://localhost:${own}/`, `http://${name}:${port}`, transports), 'connected', `localhost to ${name}`);
      assert.equal(await connects(`http://evil.example:${own}/`, `http://${name}:${port}`, transports), 'refused', `evil.example to ${name}`);
    }
  });
}

test('a name that another site lets point here is answered nothing', async () => {
  const page = await browser.newPage();
  for (const path of ['/', '/sample/session', '/socket.io/?EIO=4&transport=polling']) {
    const answer = await page.goto(`http://rebound.example:${new URL(dev.url).port}${path}`);
    assert.equal(answer.status(), 403, path);
  }
  await page.close();
});
