// How long the first useful screen takes:  node test/first.ts
// Environment: URL, ADMIN_PASSWORD. A browser that was never there opens the URL, signs in and sees the fleet with a source
// and its load; prints the milliseconds from the URL on, and of a page load after that.
import { chromium } from 'playwright-core';

const base = process.env.URL ?? '';
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-dev-shm-usage'],
});
const page = await browser.newPage();
const useful = async () => {
  await page.waitForSelector('main .table tbody tr svg', { timeout: 60_000 });
  await page.waitForFunction(() => document.querySelector('.skeleton, [aria-busy=true]') === null);
};
const began = performance.now();
await page.goto(`${base}/`);
await page.fill('input[name=username]', 'admin');
await page.fill('input[name=password]', process.env.ADMIN_PASSWORD ?? '');
await page.click('button[type=submit]');
await useful();
const first = performance.now();
await page.reload();
await useful();
console.log(`${Math.round(first - began)} ${Math.round(performance.now() - first)}`);
await browser.close();
