// Runs README.md's example for browsers in Chromium, on a page of the origin that the file `page` names, and prints what it logs.

const { execFileSync } = require('node:child_process');
const { readFileSync } = require('node:fs');
const { chromium } = require('playwright-core');

async function main() {
  const executablePath = execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim();
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
  try {
    const page = await browser.newPage();
    page.on('console', (message) => message.type() === 'log' && console.log(message.text()));
    await page.goto(readFileSync('page', 'utf8'));
    const example = readFileSync('example.js', 'utf8');
    await page.evaluate(`(async (token) => {${example}})(${JSON.stringify(process.env.GITPOD_TOKEN)})`);
  } finally {
    await browser.close();
  }
}

main();
