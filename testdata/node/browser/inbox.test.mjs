// The sample page of `supabridge dev` in two windows of a real browser.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { bubble, startBrowser } from '../harness/browser.mjs';
import { startDev } from '../harness/dev.mjs';

describe('sample inbox', () => {
  let dev, browser, ours, theirs, open, ana, ben;

  before(async () => {
    dev = await startDev({ flags: ['--no-traffic'], env: { SUPABRIDGE_PRESENCE_GRACE: '300ms' } });
    browser = await startBrowser();
    [ours, theirs] = await dev.standin.tenants();
    [open] = ours.conversations;
    [ana, ben] = ours.users;
  });
  after(async () => {
    await browser?.stop();
    await dev?.stop();
  });

  // inTwoWindows runs a test with the same conversation open as two colleagues, and fails for what the page itself got wrong.
  const inTwoWindows = (name, run) =>
    test(name, async () => {
      const windows = [await browser.window(dev.url, ana.id), await browser.window(dev.url, ben.id)];
      try {
        for (const window of windows) await window.open(open);
        await run(...windows);
        for (const window of windows) assert.deepEqual(window.errors, []);
      } finally {
        for (const window of windows) await window.close();
      }
    });

  inTwoWindows('a message that one sends appears in both, once', async (first, second) => {
    await first.send('Your order is on its way');
    for (const window of [first, second]) {
      await window.sees(bubble('Your order is on its way', 'SENT'));
      assert.equal(await window.page.locator(bubble('Your order is on its way')).count(), 1);
    }
  });

  inTwoWindows('a message of a customer appears in both, with its lines', async (first, second) => {
    await dev.standin.write(open, 'Two things:\n1. flour\n2. rye <b>bread</b>');
    for (const window of [first, second]) {
      const shown = window.page.locator('.bubble.theirs p').last();
      await window.sees('.bubble.theirs:has-text("2. rye <b>bread</b>")');
      assert.equal(await shown.innerText(), 'Two things:\n1. flour\n2. rye <b>bread</b>');
    }
  });

  inTwoWindows('ticks follow the status, and a deleted message goes away', async (first, second) => {
    const row = await dev.standin.write(open, 'Ticks, please', { is_from_customer: false });
    for (const status of ['SENT', 'DELIVERED', 'READ']) {
      if (status !== 'SENT') await dev.standin.change(row.id, { status });
      for (const window of [first, second]) await window.sees(`${bubble('Ticks, please', status)} .tick[data-status="${status}"]`);
    }
    await dev.standin.change(row.id, { content: 'Ticks, corrected' });
    await second.sees(bubble('Ticks, corrected', 'READ'));
    await dev.standin.remove(row.id);
    for (const window of [first, second]) await window.seesNo(bubble('Ticks, corrected'));
  });

  inTwoWindows('typing shows at the other and clears', async (first, second) => {
    const typing = `#thread-state.typing:text-is("${ana.name} is typing…")`;
    await first.page.locator('#text').pressSequentially('Just a mom');
    await second.sees(typing);
    await first.page.fill('#text', '');
    await second.seesNo(typing);
    await first.page.locator('#text').pressSequentially('Here');
    await second.sees(typing);
    await first.page.press('#text', 'Enter');
    await second.sees(bubble('Here'));
    await second.seesNo(typing);
    await first.sees('#thread-state:not(.typing)');
  });

  inTwoWindows('typing clears when the window of the typist closes', async (first, second) => {
    await first.page.locator('#text').pressSequentially('Unfinished');
    await second.sees('#thread-state.typing');
    await first.close();
    await second.seesNo('#thread-state.typing');
  });

  inTwoWindows('who is online changes with the windows', async (first, second) => {
    const online = (user, is) => `#people [data-user="${user.id}"][data-online="${is}"]`;
    await first.sees(online(ana, true));
    await first.sees(online(ben, true));
    await second.close();
    await first.sees(online(ben, false));
    const again = await browser.window(dev.url, ben.id);
    await first.sees(online(ben, true));
    await again.close();
    await first.sees(online(ben, false));
  });

  inTwoWindows('a conversation that is not open counts what is unread, until somebody opens it', async (first, second) => {
    const other = ours.conversations[1];
    const badge = `[data-conversation="${other}"] .badge`;
    await dev.standin.write(other, 'Anybody there?', { status: 'RECEIVED' });
    await first.sees(`${badge}:has-text("1")`);
    await second.sees(`${badge}:has-text("1")`);
    assert.equal(await first.page.locator('#conversations li').first().getAttribute('data-conversation'), other, 'the newest is on top');
    await first.open(other);
    await first.seesNo(badge);
    await second.seesNo(badge);
  });

  test('the other tenant sees none of it', async () => {
    const [window, stranger] = [await browser.window(dev.url, ana.id), await browser.window(dev.url, theirs.users[0].id)];
    await window.open(open);
    await window.send('Only for us');
    await window.sees(bubble('Only for us', 'SENT'));
    await dev.standin.write(theirs.conversations[0], 'Only for them');
    await stranger.sees('#conversations :text("Only for them")');
    assert.ok(!(await stranger.page.innerText('body')).includes('Only for us'));
    assert.ok(!(await stranger.page.innerText('#people')).includes(ana.name));
    assert.equal(await stranger.page.locator('#conversations li').count(), theirs.conversations.length);
    for (const each of [window, stranger]) {
      assert.deepEqual(each.errors, []);
      await each.close();
    }
  });

  test('a message that could not be sent says so and can be sent again', async () => {
    const window = await browser.window(dev.url, ana.id);
    await window.open(open);
    await window.page.route('**/rest/v1/messages', (route) => route.abort());
    await window.send('Through the tunnel');
    await window.sees(`${bubble('Through the tunnel', 'FAILED')} .retry`);
    await window.sees('#problem:has-text("was not sent")');
    await window.page.unroute('**/rest/v1/messages');
    await window.page.click(`${bubble('Through the tunnel')} .retry`);
    await window.sees(bubble('Through the tunnel', 'SENT'));
    await window.seesNo('#problem');
    await window.close();
  });

  test('on a telephone the list and the conversation take turns', async () => {
    const window = await browser.window(dev.url, ana.id, { viewport: { width: 390, height: 780 } });
    await window.seesNo('#thread');
    const width = await window.page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 390, `the page is ${width} wide`);
    await window.open(open);
    await window.seesNo('#conversations');
    await window.page.click('#back');
    await window.sees('#conversations');
    await window.seesNo('#thread');
    await window.close();
  });

  test('the page connects again by itself and shows what it missed', async () => {
    const own = await startDev({ flags: ['--no-traffic'] });
    const window = await browser.window(own.url);
    await window.open(open);
    // Nothing reaches the page while it is offline: the row is there only if it reads again on its return.
    await window.page.context().setOffline(true);
    await own.program.signal('SIGKILL');
    await window.sees('#connection[data-state="reconnecting"]');
    await own.start();
    await own.standin.write(open, 'While you were away');
    await window.page.context().setOffline(false);
    await window.live();
    await window.sees(bubble('While you were away'));
    await window.close();
    await own.stop();
  });
});

test('with simulated traffic a message comes by itself, gets its ticks, and a colleague types', async () => {
  const dev = await startDev();
  const browser = await startBrowser();
  try {
    const [ours] = await dev.standin.tenants();
    const window = await browser.window(dev.url, ours.users[0].id);
    await window.open(ours.conversations[0]);
    const known = await window.page.locator('.bubble').evaluateAll((bubbles) => bubbles.map((each) => each.dataset.message));
    await window.sees('#thread-state.typing');
    for (const kind of ['.bubble.theirs', '.bubble.ours[data-status="READ"]']) {
      await window.page.waitForFunction(
        ([selector, old]) => [...document.querySelectorAll(selector)].some((each) => !old.includes(each.dataset.message)),
        [kind, known],
      );
    }
    assert.deepEqual(window.errors, []);
  } finally {
    await browser.stop();
    await dev.stop();
  }
});
