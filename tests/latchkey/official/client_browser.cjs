// Drives a page in Chromium.

const { chromium } = require('playwright-core');

const { BASE_URL: baseUrl, TOKEN: token, CHROMIUM: executablePath } = process.env;
const [name, pageUrl, environmentId] = process.argv.slice(2);

async function main() {
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
  try {
    const page = await browser.newPage();
    page.on('pageerror', (error) => console.error(String(error)));
    page.on('console', (message) => console.error(message.text()));
    await page.goto(pageUrl);
    await page.waitForFunction('window.latchkey');
    for (const transport of await page.evaluate('window.latchkey.transports')) {
      console.error(transport);
      await page.evaluate(
        async ([name, transport, baseUrl, token, environmentId]) => {
          const happen = () => fetch('/happen', { method: 'POST' });
          await window.latchkey[name](transport, baseUrl, token, environmentId, happen);
        },
        [name, transport, baseUrl, token, environmentId],
      );
    }
  } finally {
    await browser.close();
  }
}

main().then(() => console.log(`${name} ends well`));
