// A tab of the inbox, with everything that went over its wires.

export const bubble = (text) => `[data-message]:has(p:text-is(${JSON.stringify(text)}))`;

// A Profile is a browser of its own: the tabs opened in it share one sign-in.
export class Profile {
  static async open(browser, url) {
    const context = await browser.newContext({ viewport: { width: 1080, height: 640 } });
    context.setDefaultTimeout(20_000);
    return new Profile(context, url);
  }

  constructor(context, url) {
    this.context = context;
    this.url = url;
  }

  // signIn opens the first tab by the login form.
  async signIn(email) {
    const tab = await this.#load();
    await tab.page.fill('input[name="email"]', email);
    await tab.page.fill('input[name="password"]', 'password');
    await tab.page.click('.login button');
    await tab.connected();
    return tab;
  }

  async openTab() {
    const tab = await this.#load();
    await tab.connected();
    return tab;
  }

  async #load() {
    const tab = new Tab(await this.context.newPage());
    await tab.page.goto(this.url);
    return tab;
  }

  close() {
    return this.context.close();
  }
}

class Tab {
  requests = [];
  errors = [];
  #received = [];

  constructor(page) {
    this.page = page;
    page.on('request', (request) => this.requests.push({ at: Date.now(), method: request.method(), url: request.url() }));
    page.on('websocket', (socket) => {
      if (socket.url().includes('/socket.io/')) socket.on('framereceived', ({ payload }) => this.#received.push(String(payload)));
    });
    page.on('response', async (response) => {
      if (response.url().includes('transport=polling') && response.request().method() === 'GET') {
        const body = await response.text().catch(() => '');
        this.#received.push(...body.split('\u001e'));
      }
    });
    page.on('pageerror', (error) => this.errors.push(String(error)));
  }

  // events are those of a name that the Socket.IO server sent, by whichever transport, about a text.
  events(name, text) {
    const start = `["${name}",`;
    return this.#received.filter((packet) => packet.startsWith('42') && packet.includes(start) && packet.includes(text));
  }

  sees(selector) {
    return this.page.locator(selector).first().waitFor();
  }

  seesNo(selector) {
    return this.page.locator(selector).first().waitFor({ state: 'hidden' });
  }

  count(selector) {
    return this.page.locator(selector).count();
  }

  connected() {
    return this.sees('.status[data-status="connected"]:has-text("Connected")');
  }

  async open(conversation) {
    await this.page.click(`[data-conversation="${conversation}"]`);
    await this.live();
  }

  live() {
    return this.sees('.thread[data-live="true"]');
  }

  async send(text) {
    await this.page.fill('input[name="text"]', text);
    await this.page.press('input[name="text"]', 'Enter');
  }

  type(text) {
    return this.page.locator('input[name="text"]').pressSequentially(text, { delay: 60 });
  }

  // takePicture writes a screenshot where the environment asks for pictures.
  async takePicture(name) {
    if (process.env.SCREENSHOTS) await this.page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png` });
  }
}
