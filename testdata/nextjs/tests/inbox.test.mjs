// One build of the inbox in a real browser, run against the Socket.IO server it was written for and against supabridge.
// Every test is the same for both; where they differ in what they promise, the expectation says so.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { startBrowser } from '../../node/harness/browser.mjs';
import { freePort, until } from '../../node/harness/program.mjs';
import { startStandin } from '../../node/harness/standin.mjs';
import { servers, startApp } from './servers.mjs';
import { bubble, Profile } from './tab.mjs';

const builds = new Set();

for (const { name, start, bringsWhatWasMissed } of servers) {
  describe(name, () => {
    let standin, server, app, browser, ours, stranger, open, closed;
    const profiles = [];

    before(async () => {
      standin = await startStandin();
      let theirs;
      [ours, theirs] = await standin.tenants();
      [stranger] = theirs.users;
      [open, closed] = ours.conversations;
      const port = await freePort();
      server = await start(standin, `http://127.0.0.1:${port}`);
      app = await startApp(port, standin, server.url);
      builds.add(app.build);
      browser = await startBrowser();
    });
    after(async () => {
      await browser?.stop();
      await app?.stop();
      await server?.stop();
      await standin?.stop();
    });
    afterEach(async () => {
      for (const profile of profiles.splice(0)) await profile.close();
    });

    const newProfile = async () => {
      const profile = await Profile.open(browser.chromium, app.url);
      profiles.push(profile);
      return profile;
    };
    // signIn gives the first tab of a user, with a conversation open unless it is null.
    const signIn = async (email, conversation = open) => {
      const profile = await newProfile();
      const tab = await profile.signIn(email);
      if (conversation) await tab.open(conversation);
      return [tab, profile];
    };
    const ana = 'ana@harbour.example';
    const ben = 'ben@harbour.example';
    const dora = 'dora@alpine.example';
    const online = (user, is) => `[data-user="${user.id}"][data-online="${is}"]`;

    test('a message sent in one tab appears in both, and both hear of it by Socket.IO', async () => {
      const [first] = await signIn(ana);
      const [second] = await signIn(ben);
      await first.send('The flour is on its way');
      for (const tab of [first, second]) {
        await tab.sees(bubble('The flour is on its way'));
        await until('new_message', () => tab.events('new_message', 'The flour is on its way').length === 1);
        assert.equal(await tab.count(bubble('The flour is on its way')), 1);
      }
      await first.takePicture('inbox-ana');
      await second.takePicture('inbox-ben');
      assert.deepEqual([...first.errors, ...second.errors], []);
    });

    test('a change of status reaches the tabs', async () => {
      const [tab] = await signIn(ana);
      const row = await standin.write(open, 'On the ramp', { is_from_customer: false });
      await tab.sees(`${bubble('On the ramp')}[data-status="SENT"]`);
      await standin.change(row.id, { status: 'DELIVERED' });
      await tab.sees(`${bubble('On the ramp')}[data-status="DELIVERED"]`);
      await until('message_updated', () => tab.events('message_updated', row.id).some((packet) => packet.includes('DELIVERED')));
    });

    test('typing shows in the other tab and clears', async () => {
      const [first] = await signIn(ana);
      const [second] = await signIn(ben);
      await first.type('We could bring');
      await second.sees('[data-typing]:has-text("Ana Reyes is typing")');
      await second.takePicture('typing');
      assert.equal(await first.count('[data-typing]'), 0, 'who types is not told so');
      await first.page.fill('input[name="text"]', '');
      await second.seesNo('[data-typing]');

      // One who pauses has stopped, and so has one who is gone.
      await first.type('it');
      await second.sees('[data-typing]');
      await second.seesNo('[data-typing]');
      await first.type(' on');
      await second.sees('[data-typing]');
      await first.page.close();
      await second.seesNo('[data-typing]');
    });

    test('who is online shows, counts a user once, and stays within the distributor', async () => {
      const [firstUser, secondUser] = ours.users;
      const [first] = await signIn(ana);
      await first.sees(online(firstUser, true));
      await first.sees(online(secondUser, false));
      const [outsider] = await signIn(dora, null);
      const [second, profile] = await signIn(ben);
      await first.sees(online(secondUser, true));
      await second.sees(online(firstUser, true));

      const another = await profile.openTab();
      await another.sees(online(secondUser, true));
      await second.page.close();
      await another.open(open);
      await another.type('Still'); // told after the other tab was gone, by the same server
      await first.sees('[data-typing]');
      assert.equal(await first.count(online(secondUser, true)), 1, 'a tab is left');
      await another.page.close();
      await first.sees(online(secondUser, false));
      assert.equal(await outsider.count('[data-online="true"]'), 1, 'she sees herself alone');
    });

    test('a customer who writes in another conversation is announced, once', async () => {
      const [first] = await signIn(ana);
      const [second] = await signIn(ben, closed);
      const [outsider] = await signIn(dora, null);
      const row = await standin.write(closed, 'Is anybody there?');
      await first.sees(`[data-notification="${row.id}"]:has-text("Is anybody there?")`);
      await first.sees(`[data-conversation="${closed}"] [data-unread="1"]`);
      await second.sees(bubble('Is anybody there?'));
      await until('new_message', () => second.events('new_message', row.id).length === 1);
      assert.equal(await second.count('[data-notification]'), 0, 'he has it open');
      await first.takePicture('notification');
      await first.open(closed);
      await first.seesNo('[data-notification]');
      assert.equal(outsider.events('new_message', row.id).length, 0, 'nothing crosses to another distributor');
    });

    test('a notification that the app publishes reaches the user it is for, in every tab', async () => {
      const [first] = await signIn(ana);
      const [second, profile] = await signIn(ben, closed);
      const another = await profile.openTab();
      const [third] = await signIn('carla@harbour.example');
      await first.page.click(`[data-ask="${ours.users[1].id}"]`);
      for (const tab of [second, another]) await tab.sees('[data-notification]:has-text("Please look at Corner Bakery")');
      // A row that comes after it shows that the others were not sent it.
      const row = await standin.write(closed, 'Hello again');
      for (const tab of [first, third]) {
        await tab.sees(`[data-notification="${row.id}"]`);
        assert.equal(tab.events('notification', 'Please look at').length, 0);
      }
      const refused = await fetch(`${app.url}/api/help`, {
        method: 'POST',
        headers: { authorization: `Bearer ${stranger.token}` },
        body: JSON.stringify({ colleague: ours.users[1].id, conversation: open }),
      });
      assert.equal(refused.status, 403, 'one of another distributor may not ask');
    });

    test('without network it says Connection Issue, and afterwards nothing is missing or doubled', async () => {
      const [tab, profile] = await signIn(ana);
      await profile.context.setOffline(true);
      await tab.sees('.status[data-status="issue"]:has-text("Connection Issue")');
      await tab.takePicture('connection-issue');
      const here = [];
      const there = [];
      for (const n of [1, 2, 3]) {
        here.push(await standin.write(open, `Meanwhile ${n}`));
        there.push(await standin.write(closed, `Elsewhere ${n}`));
      }
      await profile.context.setOffline(false);
      await tab.connected();
      await tab.live();
      const last = await standin.write(closed, 'Elsewhere 4');
      await tab.sees(`[data-notification="${last.id}"]`);

      for (const { content, id } of here) {
        await tab.sees(bubble(content));
        assert.equal(await tab.count(`[data-message="${id}"]`), 1, content);
      }
      // The rows of the open conversation are read again by the app itself. What only the socket tells is another matter.
      const shown = await tab.page.locator('[data-notification]').evaluateAll((all) => all.map((each) => each.dataset.notification));
      const expected = [...(bringsWhatWasMissed ? there.map((row) => row.id) : []), last.id];
      assert.deepEqual(shown, expected);
      for (const { id } of [...here, ...there]) {
        assert.equal(tab.events('new_message', id).length, bringsWhatWasMissed ? 1 : 0, `new_message about ${id}`);
      }
    });

    test('the Reconnect button connects at once', async () => {
      const profile = await newProfile();
      await profile.context.clock.install();
      const tab = await profile.signIn(ana);
      await profile.context.setOffline(true);
      await tab.sees('.status[data-status="issue"]');
      // With the clock of the page standing, the next attempt that socket.io-client planned never comes.
      await profile.context.clock.pauseAt(Date.now() + 1_000);
      await profile.context.setOffline(false);
      await tab.page.click('.status button');
      await tab.connected();
      await profile.context.clock.resume();
      const row = await standin.write(closed, 'After the button');
      await tab.sees(`[data-notification="${row.id}"]`);
    });

    test('at rest no request is repeated', async () => {
      const [tab] = await signIn(ana);
      await tab.page.waitForLoadState('networkidle');
      const from = tab.requests.length;
      await tab.page.waitForTimeout(10_000);
      assert.deepEqual(tab.requests.slice(from), []);
    });

    test('rows are polled while Realtime is out of reach for the tab, and only then', async () => {
      const profile = await newProfile();
      let barred = true;
      await profile.context.routeWebSocket(/\/realtime\//, (route) => (barred ? route.close({ code: 1013 }) : route.connectToServer()));
      const tab = await profile.signIn(ana);
      await tab.page.click(`[data-conversation="${open}"]`);
      await tab.sees('.thread[data-live="false"] [data-message]');
      await standin.write(open, 'By the slow road');
      await tab.sees(bubble('By the slow road'));
      barred = false;
      await tab.live();
      await tab.page.waitForLoadState('networkidle');
      const from = tab.requests.length;
      await tab.page.waitForTimeout(6_000);
      assert.deepEqual(tab.requests.slice(from), []);
      assert.equal(await tab.count(bubble('By the slow road')), 1);
    });
  });
}

test('both ran the same build', () => assert.equal(builds.size, 1));
