// Drives Chromium for a test: a line of JSON says what to do, a line of JSON says what came of it.

const { execFileSync } = require('node:child_process');
const { createInterface } = require('node:readline');
const { chromium } = require('playwright-core');

let browser, context, page, baseURL;
// What pages asked for and complained of, since the last look.
let requests = [];
let referrers = [];
let complaints = [];
// What is loaded, by the browser's own IDs, and who waits for more of it.
let loads;
let onLoad = () => {};

async function open(options) {
  await context?.close();
  baseURL = options.url;
  context = await browser.newContext({ baseURL, timezoneId: 'America/New_York', locale: 'en-GB', ...options.context });
  context.setDefaultTimeout(20000);
  page = await context.newPage();
  watch(page);
}

function watch(page) {
  page.on('request', async (request) => {
    requests.push(request.url());
    const referrer = await request.headerValue('referer').catch(() => null);
    if (referrer) referrers.push(referrer);
  });
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
}

// Weighs what comes over the wire, headers and all, from now on; nothing is kept from before.
async function weigh() {
  loads = new Map();
  if (page.scales) return;
  page.scales = await context.newCDPSession(page);
  const on = (event, act) =>
    page.scales.on(`Network.${event}`, (what) => {
      act(what, loads.get(what.requestId));
      onLoad();
    });
  on('requestWillBeSent', ({ requestId, type, redirectResponse }, before) => {
    const bytes = (before?.bytes ?? 0) + (redirectResponse?.encodedDataLength ?? 0);
    loads.set(requestId, { isStream: type === 'EventSource', bytes, head: 0, body: 0, isHere: false });
  });
  on('responseReceived', ({ response }, load) => load && (load.head = response.encodedDataLength));
  on('dataReceived', ({ dataLength, encodedDataLength }, load) => {
    if (!load) return;
    load.body += encodedDataLength || dataLength;
    // A stream goes on for as long as the page is there.
    load.isHere ||= load.isStream;
  });
  on('loadingFinished', ({ encodedDataLength }, load) => load && Object.assign(load, { whole: encodedDataLength, isHere: true }));
  on('loadingFailed', (_, load) => load && (load.isHere = true));
  await page.scales.send('Network.enable');
  await page.scales.send('Network.setCacheDisabled', { cacheDisabled: true });
}

// In the page: what differs each time it is made is put the same, in what pictures show.
function settle({ now }) {
  const known = new Map();
  const numbered = (id) => {
    if (id.startsWith('0198a000-') || id.endsWith('-000000000000')) return id;
    if (!known.has(id)) known.set(id, `0198a000-0000-7000-8000-${String(101 + known.size).padStart(12, '0')}`);
    return known.get(id);
  };
  const letters = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  const token = (text) => [...text].map((_, index) => letters[(index * index * 7 + index * 13 + 5) % 62]).join('');
  const steady = (text) =>
    text
      .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, numbered)
      .replace(/(?<=gitpod_pat_)[0-9A-Za-z]+/g, token)
      .replace(/\b(?!BCDF-GHJK)[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}\b/g, 'WDJB-MJHT');
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = steady(texts.currentNode.data);
    if (text !== texts.currentNode.data) texts.currentNode.data = text;
  }
  for (const field of document.querySelectorAll('input[type=text]')) field.value = steady(field.value);
  const hour = 3600 * 1000;
  // What is not marked as a time any more, the page's own script leaves as it is put here; and nothing takes its place.
  for (const time of document.querySelectorAll('time[datetime]')) {
    time.dataset.at = time.dateTime;
    time.removeAttribute('datetime');
  }
  globalThis.become = () => {};
  for (const time of document.querySelectorAll('time[data-at]')) {
    const away = new Date(time.dataset.at) - Date.now();
    if (time.matches('.ago')) {
      if (Math.abs(away) < hour) time.textContent = away < 0 ? 'just now' : 'soon';
    } else {
      const at = new Date(now + Math.floor(away / hour) * hour);
      time.textContent = at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
    }
  }
}

const found = ({ role, name, label, selector, nth }) => {
  const all = selector ? page.locator(selector) : label ? page.getByLabel(label, { exact: true }) : page.getByRole(role, { name, exact: true });
  return nth === undefined ? all : all.nth(nth);
};

const actions = {
  open,
  async goto({ url }) {
    const answer = await page.goto(url);
    return { status: answer?.status() ?? 0, headers: (await answer?.allHeaders()) ?? {} };
  },
  click: async (what) => found(what).click(),
  press: async ({ key }) => page.keyboard.press(key),
  type: async ({ text }) => page.keyboard.type(text),
  fill: async (what) => found(what).fill(what.text),
  check: async (what) => found(what).check(),
  value: async (what) => found(what).inputValue(),
  count: async (what) => found(what).count(),
  text: async ({ selector }) => page.locator(selector ?? 'body').innerText(),
  shows: async ({ text }) => page.getByText(text).first().waitFor(),
  hides: async ({ text }) => page.waitForFunction((text) => !document.body.innerText.includes(text), text),
  url: async () => page.url(),
  arrives: async ({ url }) => page.waitForURL(url),
  html: async () => page.content(),
  evaluate: async ({ script }) => page.evaluate(script),
  reload: async () => (await page.reload())?.status() ?? 0,
  back: async () => (await page.goBack({ waitUntil: 'commit' }))?.status() ?? 0,
  cookies: async () => context.cookies(),
  async add_cookies({ cookies }) {
    await context.addCookies(cookies);
  },
  requests: async () => requests.splice(0),
  referrers: async () => referrers.splice(0),
  // Answers in the server's place, until there is no status; with none at all for 0.
  async answer({ path, status }) {
    await page.unroute(path);
    if (status === null) return;
    await page.route(path, (route) => (status === 0 ? undefined : route.fulfill({ status })));
  },
  // Takes the clock of pages over, from the next one on, which goes on as before but for what it is moved by.
  clock: async () => page.clock.install(),
  later: async ({ milliseconds }) => page.clock.fastForward(milliseconds),
  frames: async () => page.frames().slice(1).map((frame) => frame.url()),
  complaints: async () => complaints.splice(0),
  // Puts a browser with these cookies and no others before one server; other places are asked, and never come to.
  async stand({ url, cookies }) {
    await context.clearCookies();
    await context.addCookies(cookies);
    await context.unrouteAll();
    await context.route(
      (asked) => asked.origin !== url,
      (route) => route.fulfill({ status: 204 }),
    );
  },
  scales: weigh,
  // Of all that was loaded since then, once it is here.
  async weight() {
    await page.waitForLoadState();
    const isLive = (await page.locator('[data-live]').count()) > 0;
    const isAll = () => {
      const all = [...loads.values()];
      return all.every((load) => load.isHere) && (!isLive || all.some((load) => load.isStream));
    };
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not all has come: ${JSON.stringify([...loads.values()])}`)), 20000);
      onLoad = () => {
        if (!isAll()) return;
        clearTimeout(timer);
        onLoad = () => {};
        resolve();
      };
      onLoad();
    });
    return [...loads.values()].reduce((sum, load) => sum + load.bytes + (load.whole ?? load.head + load.body), 0);
  },
  // What can be used and is not reached by the key Tab, or does not show that it is.
  async tabs() {
    const wanted = await page.evaluate(() => {
      const fields = 'a[href], button, input:not([type=hidden]), select, textarea, summary';
      const isThere = (one) => !one.disabled && one.checkVisibility({ visibilityProperty: true });
      // Of some to choose one from, one is reached, and arrows go on from there.
      const isReached = (one) => one.type !== 'radio' || one.checked;
      globalThis.unreached = new Set([...document.querySelectorAll(fields)].filter((one) => isThere(one) && isReached(one)));
      globalThis.unseen = new Set();
      return globalThis.unreached.size;
    });
    // A date has a stop for each of its parts.
    for (let pressed = 0; pressed < 2 * wanted + 20; pressed += 1) {
      await page.keyboard.press('Tab');
      const left = await page.evaluate(() => {
        const focused = document.activeElement;
        const { outlineStyle, outlineWidth } = getComputedStyle(focused);
        if (globalThis.unreached.delete(focused) && (outlineStyle === 'none' || parseFloat(outlineWidth) < 2)) globalThis.unseen.add(focused);
        return globalThis.unreached.size;
      });
      if (left === 0) break;
    }
    return page.evaluate(() => [...globalThis.unreached, ...globalThis.unseen].map((one) => one.outerHTML.slice(0, 200)));
  },
  async screenshot({ path, width, height, scheme }) {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
    await page.mouse.move(0, 0);
    await page.evaluate(settle, { now: Date.UTC(2026, 2, 2, 14, 30) });
    await page.screenshot({ path, animations: 'disabled', fullPage: true });
  },
  async overflows({ width }) {
    await page.setViewportSize({ width, height: 800 });
    return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  },
  async axe({ scheme }) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
    // Not as a script of the page: its policy lets none in.
    const source = require('node:fs').readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
    await page.evaluate(source);
    const report = await page.evaluate(() => globalThis.axe.run());
    return report.violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map((node) => node.html).join(' | ')}`);
  },
};

async function main() {
  const executablePath = execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim();
  const args = ['--no-sandbox', '--disable-dev-shm-usage'];
  // Pages are kept for the way back as people's browsers keep them.
  browser = await chromium.launch({ executablePath, args, ignoreDefaultArgs: ['--disable-back-forward-cache'] });
  try {
    for await (const line of createInterface({ input: process.stdin })) {
      const { action, ...what } = JSON.parse(line);
      let said;
      try {
        said = { ok: (await actions[action](what)) ?? null };
      } catch (error) {
        said = { error: `${error}\nat ${page?.url()}` };
      }
      process.stdout.write(`${JSON.stringify(said)}\n`);
    }
  } finally {
    await browser.close();
  }
}

main();
