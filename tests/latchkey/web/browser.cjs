// Drives Chromium for a test: a line of JSON says what to do, a line of JSON says what came of it.

const { execFileSync } = require('node:child_process');
const { createInterface } = require('node:readline');
const { chromium } = require('playwright-core');

let browser, context, page, baseURL;
// What pages asked for and complained of, since the last look.
let requests = [];
let referrers = [];
let complaints = [];
let bytes = 0;

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
  page.on('requestfinished', async (request) => {
    const sizes = await request.sizes().catch(() => null);
    bytes += sizes ? sizes.responseBodySize + sizes.responseHeadersSize : 0;
  });
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
  back: async () => (await page.goBack())?.status() ?? 0,
  cookies: async () => context.cookies(),
  async add_cookies({ cookies }) {
    await context.addCookies(cookies);
  },
  requests: async () => requests.splice(0),
  referrers: async () => referrers.splice(0),
  frames: async () => page.frames().slice(1).map((frame) => frame.url()),
  complaints: async () => complaints.splice(0),
  async weight({ url }) {
    // With nothing kept from before.
    const fresh = await browser.newContext({ baseURL, storageState: await context.storageState() });
    const other = await fresh.newPage();
    bytes = 0;
    watch(other);
    await other.goto(url, { waitUntil: 'networkidle' });
    await fresh.close();
    return bytes;
  },
  async screenshot({ path, width, height, scheme }) {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
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
  browser = await chromium.launch({ executablePath, args });
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
