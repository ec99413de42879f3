// Headless Chromium and the windows of the sample page.
import { execFileSync } from 'node:child_process';
import { chromium } from 'playwright-core';

const flags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export async function startBrowser() {
  return new Browser(await chromium.launch({ executablePath: executable(), args: flags }));
}

// executable is the browser of this machine.
export function executable() {
  return process.env.CHROMIUM ?? execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim();
}

class Browser {
  constructor(chromium) {
    this.chromium = chromium;
  }

  // window opens the page as a user (the first one without) in a context of its own, and waits until it is live.
  async window(url, user, options) {
    const context = await this.chromium.newContext({ viewport: { width: 1200, height: 760 }, ...options });
    context.setDefaultTimeout(15_000);
    const page = await context.newPage();
    const window = new Window(page);
    await page.goto(user ? `${url}/?user=${user}` : url);
    await window.live();
    return window;
  }

  stop() {
    return this.chromium.close();
  }
}

class Window {
  errors = []; // what the page itself got wrong, refusals of its content security policy included

  constructor(page) {
    this.page = page;
    page.on('pageerror', (error) => this.errors.push(String(error)));
    page.on('console', (message) => {
      // A server that is away is no error of the page.
      if (message.type() === 'error' && !/net::ERR_|WebSocket connection/.test(message.text())) this.errors.push(message.text());
    });
  }

  // sees waits for the first element that matches to be visible.
  sees(selector) {
    return this.page.locator(selector).first().waitFor();
  }

  // seesNo waits until no visible element matches.
  seesNo(selector) {
    return this.page.locator(selector).first().waitFor({ state: 'hidden' });
  }

  live() {
    return this.sees('#connection[data-state="live"]');
  }

  async open(conversation) {
    await this.page.click(`[data-conversation="${conversation}"] button`);
    await this.sees('#composer');
  }

  async send(text) {
    await this.page.fill('#text', text);
    await this.page.press('#text', 'Enter');
  }

  close() {
    return this.page.context().close();
  }
}

// bubble is the selector of the message with a text.
export const bubble = (text, status) => `.bubble${status ? `[data-status="${status}"]` : ''}:has(p:text-is(${JSON.stringify(text)}))`;
