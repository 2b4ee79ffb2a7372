// How fast the pages are over a fleet:  node test/pages.ts
// Environment: URL, ADMIN_PASSWORD, END (an instant up to which there are readings), ROUNDS (10), RANGES ("1h 24h 7d"), JSON (a
// file that gets a line of JSON a page). Each round takes another source and other instants, so that no answer is there
// already. Prints of each page and range how long its slowest call and the page took, in milliseconds: median and 95th
// percentile; and the path of the slowest call of all.
import { appendFileSync } from 'node:fs';
import { chromium, type Request } from 'playwright-core';
import type { ListSourcesResponse, LoginResponse, TopQueriesResponse } from '../src/api/generated.ts';

const base = process.env.URL ?? '';
const rounds = Number(process.env.ROUNDS ?? 10);
const end = Date.parse(process.env.END ?? '');
const units: Record<string, number> = { h: 3_600_000, d: 86_400_000 };
const ranges = (process.env.RANGES ?? '1h 24h 7d').split(' ').map((text) => ({
  text,
  span: Number.parseInt(text, 10) * (units[text.slice(-1)] ?? 0),
}));
const tabs =
  'load statements blocking activity compare connections databases tables indexes vacuum replication wal settings host changes';

async function api<T>(path: string, init: RequestInit = {}): Promise<T> {
  const response = await fetch(base + path, init);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}
const { token } = await api<LoginResponse>('/api/v1/auth/login', {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({ username: 'admin', password: process.env.ADMIN_PASSWORD }),
});
const headers = { Authorization: `Bearer ${token}` };
const { sources } = await api<ListSourcesResponse>('/api/v1/sources', { headers });
const iso = (at: number) => new Date(at).toISOString();
const { queries } = await api<TopQueriesResponse>(
  `/api/v1/queries/top?start=${iso(end - 3_600_000)}&end=${iso(end)}&source=${sources[0]?.id}&limit=1`,
  { headers },
);

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-dev-shm-usage'],
});
const page = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
await page.goto(`${base}/`);
await page.fill('input[name=username]', 'admin');
await page.fill('input[name=password]', process.env.ADMIN_PASSWORD ?? '');
await page.click('button[type=submit]');
await page.waitForSelector('h1:has-text("Fleet")');

let calls: { path: string; took: number }[] = [];
page.on('requestfinished', (request: Request) => {
  const path = request.url().slice(base.length);
  const timing = request.timing();
  if (path.startsWith('/api/')) calls.push({ path, took: timing.responseEnd - Math.max(timing.requestStart, 0) });
});
let refused = 0;
page.on('response', (response) => {
  if (response.status() >= 400) {
    refused++;
    console.log(`${response.status()} ${response.url().slice(base.length)}`);
  }
});

// The value below which this share of them lies.
function part(values: number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return Math.round(sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? 0);
}

const pages: [string, (source: string) => string][] = [
  ['fleet', () => '/'],
  ['collectors', () => '/collectors'],
  ['storage', () => '/storage'],
  ['statement of the fleet', () => `/q/${queries[0]?.query_id}`],
  ['statement', () => `/s/${encodeURIComponent(sources[0]?.name ?? '')}/q/${queries[0]?.query_id}`],
  ...tabs
    .split(' ')
    .map((tab): [string, (source: string) => string] => [
      tab,
      (source) => `/s/${source}${tab === 'load' ? '' : `/${tab}`}`,
    ]),
];
console.log(`${sources.length} sources, ${rounds} rounds; milliseconds, p50 and p95`);
console.log(`${'page'.padEnd(24)} range  calls  slowest call     page  slowest path`);
for (const { text, span } of ranges) {
  for (const [name, pathOf] of pages) {
    const slowest: number[] = [];
    const usable: number[] = [];
    let worst = { path: '', took: -1 };
    let most = 0;
    for (let round = 0; round < rounds; round++) {
      const source = sources[(round * 37 + name.length) % sources.length]?.name ?? '';
      const to = end - round * 60_000 * 7;
      calls = [];
      const began = performance.now();
      await page.goto(`${base}${pathOf(encodeURIComponent(source))}?from=${iso(to - span)}&to=${iso(to)}&tz=utc`);
      await page.waitForSelector('main:not(.starting) h1, main:not(.starting) .state, main:not(.starting) .panel');
      await page.waitForFunction(() => document.querySelector('.skeleton, [aria-busy=true]') === null, undefined, {
        timeout: 60_000,
      });
      usable.push(performance.now() - began);
      const one = calls.reduce((most, call) => (call.took > most.took ? call : most), { path: '', took: 0 });
      slowest.push(one.took);
      if (one.took > worst.took) worst = one;
      most = Math.max(most, calls.length);
    }
    const line = {
      page: name,
      range: text,
      calls: most,
      call_p50_ms: part(slowest, 0.5),
      call_p95_ms: part(slowest, 0.95),
      page_p50_ms: part(usable, 0.5),
      page_p95_ms: part(usable, 0.95),
    };
    console.log(
      `${name.padEnd(24)} ${text.padStart(5)} ${String(most).padStart(6)} ${`${line.call_p50_ms} ${line.call_p95_ms}`.padStart(13)} ${`${line.page_p50_ms} ${line.page_p95_ms}`.padStart(12)}  ${worst.path.slice(0, 160)}`,
    );
    if (process.env.JSON) appendFileSync(process.env.JSON, `${JSON.stringify(line)}\n`);
  }
}
await browser.close();
process.exit(refused > 0 ? 1 : 0);
