// The console in a real Chromium, against a real suite:  node test/browser.ts <empty|full|pictures>
// Environment: URL, ADMIN_PASSWORD, VIEWER_PASSWORD (of user `viewer`), PICTURES (folder), REFRESHES (of the tab whose memory
// is watched, 60). Prints a line a check; exit code 1 when one failed.
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import type {
  GetActivityResponse,
  GetFreshnessResponse,
  GetRowsResponse,
  GetStateResponse,
  ListAdviceResponse,
  ListAlertsResponse,
  ListLogEventsResponse,
  ListSilencesResponse,
  ListSourcesResponse,
  Series,
  TopQueriesResponse,
} from '../src/api/generated.ts';
import { average, stepOf, toColumns } from '../src/charts/gaps.ts';
import { iso } from '../src/state/time.ts';
import { count, milliseconds, percent, withUnit } from '../src/state/units.ts';
import { nextPerson, walkApiDocs } from './apidocs.ts';
import { walkInsight } from './insight.ts';
import { walkTasks, watchMemory } from './tasks.ts';

const base = process.env.URL ?? '';
const pictures = process.env.PICTURES ?? '';
const mode = process.argv[2] ?? 'full';
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
mkdirSync(pictures, { recursive: true });

let failed = 0;
let passed = 0;
function check(name: string, good: boolean, detail: unknown = '') {
  if (good) passed++;
  else failed++;
  console.log(`${good ? 'ok  ' : 'FAIL'} ${name}${good ? '' : `: ${String(detail).slice(0, 600)}`}`);
}
function equal(name: string, actual: unknown, expected: unknown) {
  check(
    name,
    JSON.stringify(actual) === JSON.stringify(expected),
    `page ${JSON.stringify(actual)}, API ${JSON.stringify(expected)}`,
  );
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--force-color-profile=srgb'],
});

// Whatever the browser complains of, and requests to other hosts, are failures of their own.
const complaints: string[] = [];
// Calls that the gateway refused because of their number.
const refusals: string[] = [];
async function newContext(width = 1440, height = 900): Promise<BrowserContext> {
  const context = await browser.newContext({
    viewport: { width, height },
    deviceScaleFactor: 1,
    timezoneId: 'UTC',
    locale: 'en-GB',
  });
  context.on('page', (page) => {
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning')
        complaints.push(`${page.url()}: ${message.text()}`);
    });
    page.on('pageerror', (error) => complaints.push(`${page.url()}: ${error.message}`));
    page.on('response', (response) => {
      if (response.status() === 429 || response.status() === 503)
        refusals.push(`${response.status()} ${response.url()}`);
    });
    page.on('request', (request) => {
      if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(base))
        complaints.push(`request to ${request.url()}`);
    });
  });
  return context;
}

async function signIn(page: Page, user: string, password: string) {
  await page.goto(`${base}/`);
  await page.fill('input[name=username]', user);
  await page.fill('input[name=password]', password);
  await page.click('button[type=submit]');
  await page.waitForSelector('h1:has-text("Fleet")');
}

// Until every question of the page is answered.
async function settled(page: Page) {
  await page.waitForSelector('main:not(.starting) h1, main:not(.starting) .state');
  await page.waitForFunction(() => document.querySelector('.skeleton, [aria-busy=true]') === null, undefined, {
    timeout: 60_000,
  });
}

async function open(page: Page, path: string) {
  await page.goto(base + path);
  await settled(page);
}

async function accessible(page: Page, name: string) {
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    // @ts-expect-error: axe is what was just evaluated.
    const result = await window.axe.run(document, { resultTypes: ['violations'] });
    return (
      result.violations as { id: string; impact: string; nodes: { target: string[]; failureSummary: string }[] }[]
    )
      .filter((one) => one.impact === 'serious' || one.impact === 'critical')
      .map(
        (one) =>
          `${one.id} at ${one.nodes
            .slice(0, 3)
            .map((node) => node.target.join(' '))
            .join(', ')}: ${one.nodes[0]?.failureSummary}`,
      );
  });
  check(`${name}: axe finds nothing serious`, found.length === 0, found.join('\n'));
}

async function picture(page: Page, name: string, fullPage = true) {
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage });
}

let token = '';
async function ask<T>(path: string): Promise<T> {
  const response = await fetch(base + path, { headers: { Authorization: `Bearer ${token}` } });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}
async function tokenOf(username: string, password: string): Promise<string> {
  const response = await fetch(`${base}/api/v1/auth/login`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ username, password }),
  });
  return ((await response.json()) as { token: string }).token;
}

const password = process.env.ADMIN_PASSWORD ?? '';
token = await tokenOf('admin', password);

async function emptySuite() {
  const context = await newContext();
  const page = await context.newPage();
  await page.goto(`${base}/`);
  await accessible(page, 'sign-in');
  await picture(page, 'sign-in-light');
  await page.fill('input[name=username]', 'admin');
  await page.fill('input[name=password]', 'not the password');
  await page.click('button[type=submit]');
  await page.waitForSelector('.error:not(:empty)');
  check('a wrong password is said', ((await page.textContent('.error')) ?? '').length > 10);
  // The browser itself notes the 401.
  equal(
    'and nothing else is complained of',
    complaints.splice(0).filter((one) => !one.includes('401')),
    [],
  );
  await signIn(page, 'admin', password);
  await settled(page);
  check(
    'an empty fleet says the next command',
    (await page.textContent('main'))?.includes('pgactl secrets create') ?? false,
  );
  for (const [path, words] of [
    ['/collectors', 'No collector has registered'],
    ['/storage', 'No blocks yet'],
    ['/s/nothing', 'There is no source nothing'],
    ['/q/12', 'did not run in the range'],
  ] as const) {
    await open(page, path);
    check(
      `empty ${path}: ${words}`,
      (await page.textContent('main'))?.includes(words) ?? false,
      await page.textContent('main'),
    );
    await accessible(page, `empty ${path}`);
  }
  complaints.splice(0, complaints.length, ...complaints.filter((one) => !one.includes('404')));
  await context.close();
}

async function full() {
  const { sources } = await ask<ListSourcesResponse>('/api/v1/sources');
  const source = sources.find((one) => one.kind === 'server');
  if (!source) throw new Error('no server is watched');
  const home = `/s/${encodeURIComponent(source.name)}`;
  // A range that page and API are asked alike once it is over. Counters are added up over whole minutes.
  const end = Math.ceil(Date.now() / 60_000) * 60_000;
  const range = { start: end - 120_000, end };
  const fixed = `from=${iso(range.start)}&to=${iso(range.end)}&tz=utc`;
  const asked = `start=${iso(range.start)}&end=${iso(range.end)}&source=${encodeURIComponent(source.name)}`;
  const top = await ask<TopQueriesResponse>(
    `/api/v1/queries/top?hours=1&source=${encodeURIComponent(source.name)}&limit=200`,
  );
  const heavy = top.queries.find((query) => /pgbench_accounts/i.test(query.query_text)) ?? top.queries[0];
  if (!heavy) throw new Error('no statement is known');

  const context = await newContext();
  const page = await context.newPage();
  await signIn(page, 'admin', password);
  const pages: Record<string, [path: string, words: string]> = {
    fleet: ['/', source.name],
    load: [home, 'Top statements'],
    statements: [`${home}/statements`, 'pgbench_accounts'],
    statement: [`${home}/q/${heavy.query_id}`, 'pgbench_accounts'],
    'statement-fleet': [`/q/${heavy.query_id}`, source.name],
    blocking: [`${home}/blocking`, 'waits'],
    activity: [`${home}/activity`, 'Sessions by state'],
    compare: [`${home}/compare`, 'windows'],
    connections: [`${home}/connections`, 'max_connections'],
    databases: [`${home}/databases`, 'hit ratio of all'],
    vacuum: [`${home}/vacuum`, 'kept_rows'],
    wal: [`${home}/wal`, 'By time'],
    changes: [`${home}/changes`, 'What changed'],
    tables: [`${home}/tables`, 'pgbench_accounts'],
    indexes: [`${home}/indexes`, 'pgbench_accounts_pkey'],
    replication: [`${home}/replication`, 'kept_for_test'],
    settings: [`${home}/settings`, 'shared_preload_libraries'],
    host: [`${home}/host`, 'Memory'],
    logs: [`${home}/logs`, 'deadlock detected'],
    alerts: ['/alerts', 'kept_for_test is used by nobody'],
    advice: ['/advice', 'accounts_again has the same key'],
    anomalies: ['/anomalies', 'No anomaly of severity high is open'],
    patterns: ['/patterns', 'Nothing recurs'],
    weeks: [`${home}/weeks`, 'Active sessions'],
    'source-advice': [`${home}/advice`, 'Not judged'],
    collectors: ['/collectors', 'console-test'],
    collector: ['/collectors/console-test', 'Not collected'],
    storage: ['/storage', 'frame'],
    admin: ['/admin', 'viewer'],
    'api-docs': ['/api-docs', 'QueryService'],
  };
  for (const theme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme: theme, reducedMotion: 'reduce' });
    for (const [name, [path, words]] of Object.entries(pages)) {
      const began = performance.now();
      await open(page, `${path}?from=-15m&tz=utc`);
      const took = Math.round(performance.now() - began);
      const text = (await page.textContent('main')) ?? '';
      check(`${name} ${theme}: shows ${words}, in ${took} ms`, text.includes(words), text);
      equal(`${name} ${theme}: no error`, await page.locator('main [role=alert]:not(:empty)').allTextContents(), []);
      await accessible(page, `${name} ${theme}`);
      await picture(page, `${name}-${theme}`);
    }
  }
  equal('no complaint of the browser on any page', complaints.splice(0), []);
  await open(page, `${home}/q/1?from=-15m&tz=utc`);
  const charts = await page.locator('main .panel:has(canvas)').count();
  equal('a statement that is not there: no chart', charts, 0);
  // The browser tells of the answer 404.
  complaints.splice(0);

  // Everything of the range is stored, so that the answers do not change any more.
  const stored = async () => {
    const { freshness } = await ask<GetFreshnessResponse>(
      `/api/v1/freshness?source=${encodeURIComponent(source.name)}`,
    );
    return ['statements', 'activity', 'database', 'wal'].every((metric) =>
      freshness.some((one) => one.metric === metric && Date.parse(one.last_collected_at ?? '') > end),
    );
  };
  for (const giveUp = Date.now() + 90_000; !(await stored()); await new Promise((go) => setTimeout(go, 100))) {
    if (Date.now() > giveUp) throw new Error('the readings of the range did not arrive');
  }

  // Figures of the page are those of the API.
  await open(page, `${home}/statements?${fixed}`);
  await page.locator('button.more').click();
  const cells = await page.$$eval('.table tbody tr', (rows) =>
    rows.map((row) => ({
      id: /\/q\/(-?\d+)/.exec(row.querySelector('a')?.getAttribute('href') ?? '')?.[1] ?? '',
      texts: [...row.querySelectorAll('td')].map((cell) => cell.textContent ?? ''),
    })),
  );
  const head = await page.$$eval('.table thead th', (all) =>
    all.map((one) => (one.textContent ?? '').replace(/[↑↓ ]+$/, '')),
  );
  const place = (title: string) => head.indexOf(title);
  const again = await ask<TopQueriesResponse>(`/api/v1/queries/top?${asked}&limit=200`);
  const onPage = cells.map((row) =>
    [
      row.id,
      row.texts[place('Time')],
      row.texts[place('Calls')],
      row.texts[place('Mean')],
      row.texts[place('Rows')],
      row.texts[place('On')],
    ].join(' | '),
  );
  const byApi = again.queries.map((query) =>
    [
      query.query_id,
      milliseconds(query.total_time),
      count(query.calls),
      query.calls > 0 ? milliseconds(query.mean_time) : '–',
      count(query.rows),
      `${query.database_name} · ${query.user_name}`,
    ].join(' | '),
  );
  equal(`statements: ${byApi.length} rows with time, calls, mean, rows`, [...onPage].sort(), [...byApi].sort());
  check(
    'statements: the whole and its coverage',
    ((await page.textContent('.panel header .note')) ?? '').includes(`in all ${withUnit(again.total, 'ms')}`),
    await page.textContent('.panel header .note'),
  );
  check(
    'statements: coverage',
    ((await page.textContent('.panel header .note')) ?? '').includes(percent(again.completeness)),
  );

  await open(page, `${home}?${fixed}`);
  const drawn = await page.$$eval('.panel[aria-label=Load] .legend li', (all) =>
    all.map((one) => [one.querySelector('button, span')?.textContent ?? '', one.querySelector('b')?.textContent ?? '']),
  );
  const question = await byApiOf(page, 'Load');
  const series = await ask<Series[]>(question);
  const columns = toColumns(series, stepOf(series, 60), range);
  for (const [label, shown] of drawn) {
    const rows = series.flatMap((one, i) => {
      const idle = (one.labels.state ?? '').startsWith('idle in transaction');
      const name = idle ? 'idle in transaction' : one.labels.wait_event_type || 'CPU';
      return name === label ? [columns.values[i] ?? []] : [];
    });
    const sum = columns.x.map((_, i) => rows.reduce((all, row) => all + (row[i] ?? 0), 0));
    equal(`load: ${label} sessions`, shown, withUnit(average(sum, columns.coverage), 'sessions'));
  }
  check('load: classes are shown', drawn.length >= 2, JSON.stringify(drawn));

  await open(page, `${home}/blocking?${fixed}`);
  const waits = await ask<GetActivityResponse>(`/api/v1/activity?${asked}&limit=1000`);
  const waited = waits.blocking.reduce((sum, edge) => sum + edge.blocked_seconds, 0);
  check('blocking: there are waits', waits.blocking.length > 0);
  check(
    'blocking: their number and sum',
    ((await page.textContent('.panel header .note')) ?? '').includes(
      `${waits.blocking.length} waits, ${milliseconds(waited * 1000)}`,
    ),
    await page.textContent('.panel header .note'),
  );
  const first = (await page.textContent('.tree > li > .tree-row')) ?? '';
  check(
    'blocking: the tree begins with a root',
    waits.blocking.some((edge) => edge.root && first.includes(String(edge.root.pid))),
    await page.textContent('.tree'),
  );

  // Dragging over a chart is a new range for the page; the back button undoes it.
  await open(page, `${home}?from=-15m`);
  // A chart that gets its answer at this moment is made anew.
  let plot = await page.locator('.u-over').first().boundingBox();
  for (let tries = 0; !plot && tries < 50; tries++) {
    await page.waitForSelector('.u-over', { state: 'visible' });
    plot = await page.locator('.u-over').first().boundingBox();
  }
  if (!plot) throw new Error('no chart');
  await page.mouse.move(plot.x + plot.width * 0.8, plot.y + 40);
  await page.mouse.down();
  await page.mouse.move(plot.x + plot.width * 0.95, plot.y + 40, { steps: 4 });
  await page.mouse.up();
  await page.waitForURL(/from=20/);
  await settled(page);
  const zoomed = new URL(page.url()).searchParams;
  const width = Date.parse(zoomed.get('to') ?? '') - Date.parse(zoomed.get('from') ?? '');
  check('a drag zooms to what was dragged over', Math.abs(width - 900_000 * 0.15) < 20_000, width);
  await page.goBack();
  await page.waitForURL(/from=-15m/);
  check('back is the range before', true);
  await page.locator('.legend button.link', { hasText: 'CPU' }).click();
  await page.waitForURL(/filter=wait_event_type=/);
  await settled(page);
  check('a click on a class is a filter, in the address', (await page.locator('button.chip').count()) === 1);

  // Numbers leave: CSV, PNG, the lines for API and pgactl.
  const [csv] = await Promise.all([page.waitForEvent('download'), menu(page, 'Load', 'Download CSV')]);
  const lines = readFileSync(await csv.path(), 'utf8')
    .trim()
    .split('\r\n');
  check('CSV of a chart', (lines[0] ?? '').startsWith('time,') && lines.length > 3, lines.slice(0, 2));
  const [png] = await Promise.all([page.waitForEvent('download'), menu(page, 'Load', 'Download PNG')]);
  check(
    'PNG of a chart',
    readFileSync(await png.path())
      .subarray(1, 4)
      .toString() === 'PNG',
  );

  // Keys.
  await open(page, '/');
  await page.keyboard.press('?');
  await page.waitForSelector('dialog[open] kbd');
  check('? lists the keys', (await page.locator('dialog[open] kbd').count()) > 5);
  await accessible(page, 'keys');
  await page.keyboard.press('Escape');
  await page.keyboard.press('/');
  await page.waitForSelector('.search:focus');
  await page.keyboard.type(source.name.slice(0, 8));
  await page.waitForSelector('.found .chosen a');
  check('what is typed goes into the field', (await page.inputValue('.search')) === source.name.slice(0, 8));
  await accessible(page, 'search');
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/s\//);
  check('/ finds a source and Enter opens it', page.url().includes(home));
  await page.keyboard.press('u');
  await page.waitForURL(/tz=utc/);
  check('u is UTC', page.url().includes('tz=utc'));

  // A phone.
  await page.setViewportSize({ width: 360, height: 740 });
  for (const [name, path] of [
    ['fleet', '/'],
    ['load', home],
    ['blocking', `${home}/blocking`],
    ['statement', `${home}/q/${heavy.query_id}`],
    ['api-docs', '/api-docs'],
  ] as const) {
    await open(page, `${path}?from=-15m`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    check(`${name} fits 360 px`, wide <= 360, wide);
    await picture(page, `${name}-phone`);
  }
  await page.setViewportSize({ width: 1440, height: 900 });
  equal('no complaint of the browser so far', complaints.splice(0), []);

  // The server away: said, and over when it is back.
  await open(page, `${home}?from=-15m`);
  await page.route('**/api/**', (route) => route.abort());
  await page.getByRole('button', { name: 'Refresh', exact: true }).click();
  await page.waitForSelector('main [role=alert]');
  check('a server that is away is said', ((await page.textContent('main')) ?? '').includes('The server is away'));
  await picture(page, 'server-away-light', false);
  await page.unroute('**/api/**');
  await page.getByRole('button', { name: 'Refresh', exact: true }).click();
  await page.waitForFunction(() => document.querySelector('main [role=alert]') === null);
  check('and it is over when the server is back', true);
  complaints.splice(0);

  // The setting that was changed is read once in 60 intervals.
  const changed = async () => {
    const { changes } = await ask<GetStateResponse>(
      `/api/v1/state?metric=settings&hours=1&filter=setting_name%3Dwork_mem&source=${encodeURIComponent(source.name)}`,
    );
    return changes.length > 0;
  };
  for (const giveUp = Date.now() + 70_000; !(await changed()); await new Promise((go) => setTimeout(go, 250))) {
    if (Date.now() > giveUp) throw new Error('the changed setting was not read');
  }
  const tools = { base, source: source.name, check, settled };
  await walkTasks(page, tools);
  await rowsAreThoseOfTheApi(page, home, fixed, asked);
  await logsAreThoseOfTheApi(page, home, source);
  await alertsAreThoseOfTheApi(page);
  await adviceIsThatOfTheApi(page, home, source);
  await walkInsight(page, tools);
  await walkApiDocs(page, { ...tools, accessible, picture });
  // The browser notes the two refusals that are asked for there.
  complaints.splice(0, complaints.length, ...complaints.filter((one) => !/status of 40[01] /.test(one)));
  await watchMemory(context, tools, Number(process.env.REFRESHES ?? 60));
  equal('no complaint of the browser in tasks', complaints.splice(0), []);
  equal('no call was refused for being one too many', refusals, []);

  await tabs(context, page, home);
  await signOutEverywhere(context);
  await context.close();
  await viewer(home);
  await many(source.name);
}

// The alert of a slot that nobody reads: seen, taken, silenced, ended, each by the page and known to the API.
async function alertsAreThoseOfTheApi(page: Page) {
  const active = () => ask<ListAlertsResponse>('/api/v1/alerts?state=active&page_size=100');
  const alert = (await active()).data.find((one) => one.rule_id === 'slot_idle');
  if (!alert) throw new Error('the slot has no alert');
  const now = async () => ask<ListAlertsResponse['data'][number]>(`/api/v1/alerts/${alert.id}`);
  await open(page, '/');
  const { firing } = await active();
  check(
    'the fleet counts alerts as the API does',
    ((await page.textContent('.facts')) ?? '').includes(firing === 1 ? '1 alert fires' : `${firing} alerts fire`),
  );
  await open(page, '/alerts');
  const row = page.locator('tr', { hasText: 'kept_for_test is used by nobody' }).first();
  check('an alert shows what was seen', ((await row.textContent()) ?? '').includes(alert.metric_value));
  await row.getByRole('button', { name: 'Acknowledge' }).click();
  await page.waitForSelector('text=taken by admin');
  equal('who takes care is known to the API', (await now()).acknowledged_by, 'admin');
  await row.locator('button.link').click();
  const dialog = page.locator('dialog');
  check('it says what to do', ((await dialog.textContent()) ?? '').includes('Drop the slot'));
  equal(
    'it leads to the page that shows it',
    new URL((await dialog.locator('a').getAttribute('href')) ?? '', base).pathname,
    alert.page,
  );
  await accessible(page, 'an alert');
  await dialog.getByRole('button', { name: 'Close' }).click();
  await row.getByRole('button', { name: 'Silence' }).click();
  await dialog.locator('input').last().fill('a test');
  await dialog.getByRole('button', { name: 'Silence' }).click();
  await page.waitForSelector('section[aria-label=Silenced]');
  const { silences } = await ask<ListSilencesResponse>('/api/v1/silences');
  equal('the silence is known to the API', (await now()).silenced_by, [silences[0]?.id]);
  await page.locator('section[aria-label=Silences]').getByRole('button', { name: 'End' }).click();
  await page.waitForFunction(() => document.querySelector('section[aria-label=Silenced]') === null);
  equal('and its end', (await now()).silenced_by, []);
  page.once('dialog', (question) => void question.accept());
  await row.getByRole('button', { name: 'Resolve' }).click();
  await page.waitForFunction(
    () => document.querySelector('section[aria-label=History]')?.textContent?.includes('kept_for_test') ?? false,
  );
  equal('an alert that was ended is over for the API', (await now()).state, 'resolved');
}

// The advice about an index that is there twice: seen, opened, dismissed, restored, each known to the API.
async function adviceIsThatOfTheApi(page: Page, home: string, source: ListSourcesResponse['sources'][number]) {
  const of = (more = '') => ask<ListAdviceResponse>(`/api/v1/advice?source=${encodeURIComponent(source.id)}${more}`);
  // What the page itself got: the server goes on while it is asked.
  const answered = page.waitForResponse((response) => new URL(response.url()).pathname === '/api/v1/advice');
  await open(page, `${home}/advice`);
  const { advice, count, not_judged } = (await (await answered).json()) as ListAdviceResponse;
  const twice = advice.find((one) => one.kind === 'index_duplicate');
  if (!twice) throw new Error('the index that is there twice has no advice');
  check(
    'a sequence near its end has an advice',
    advice.some((one) => one.kind === 'sequence_near_end' && one.object === 'public.nearly_done'),
  );
  const rows = page.locator('section[aria-label=Advice] tbody tr');
  equal('as many rows as the API has', await rows.count(), Math.min(count, 100));
  equal('what could not be judged stands there', await page.locator('section[aria-label="Not judged"]').count(), 1);
  check('and there is some', not_judged.length > 0);
  const row = rows.filter({ hasText: twice.object }).first();
  await row.locator('button.link').click();
  const dialog = page.locator('dialog');
  const text = (await dialog.textContent()) ?? '';
  check('it shows the command', text.includes(twice.command), text);
  check(
    'and its figures',
    twice.why.every((why) => text.includes(why)),
    text,
  );
  await accessible(page, 'an advice');
  await dialog.locator('input').fill('a test');
  await dialog.getByRole('button', { name: 'Dismiss' }).click();
  await page.waitForFunction(
    (what) => !document.querySelector('section[aria-label=Advice]')?.textContent?.includes(what),
    twice.what,
  );
  equal('the dismissal is known to the API', (await of()).dismissed_count, 1);
  await page.getByLabel('Dismissed').check();
  await rows.filter({ hasText: twice.object }).first().locator('button.link').click();
  await dialog.getByRole('button', { name: 'Restore' }).click();
  await page.waitForFunction(() => document.querySelector('dialog') === null);
  equal('and that it was taken back', (await of()).dismissed_count, 0);
}

// Tables that are put together from rows of a metric say what the API says.
async function rowsAreThoseOfTheApi(page: Page, home: string, fixed: string, asked: string) {
  const cells = async (panel: string, title: string) => {
    const table = page.locator(`.panel[aria-label="${panel}"] table`);
    const head = (await table.locator('thead th').allTextContents()).map((one) => one.replace(/[↑↓ ]+$/, ''));
    const at = head.indexOf(title);
    return table.locator('tbody tr').evaluateAll(
      (rows, column) =>
        rows.map((row) => {
          const texts = [...row.querySelectorAll('td')].map((cell) => cell.textContent ?? '');
          return `${texts[0]} ${texts[column]}`;
        }),
      at,
    );
  };
  const cases = [
    ['databases', 'Databases', 'Committed', 'database', 'datname', 'xact_commit', 'xacts'],
    ['replication', 'Slots', 'WAL kept', 'replication_slots', 'slot_name', 'retained_bytes', 'bytes'],
    ['vacuum', 'Distance from wraparound', 'Left', 'wraparound', 'datname', 'xids_left', 'xacts'],
  ] as const;
  for (const [tab, panel, title, metric, label, column, unit] of cases) {
    await open(page, `${home}/${tab}?${fixed}`);
    const { rows } = await ask<GetRowsResponse>(`/api/v1/rows?metric=${metric}&column=${column}&${asked}`);
    const byApi = rows.map((row) => `${row.labels[label] || 'shared objects'} ${withUnit(row.numbers[column], unit)}`);
    equal(`${panel}: ${title} of ${byApi.length} rows`, (await cells(panel, title)).sort(), byApi.sort());
    check(`${panel}: there are rows`, byApi.length > 0);
  }
}

// Entries of the log: those of the API, without what was planted, with a way to the statement; and what is said where the
// log is not read.
async function logsAreThoseOfTheApi(page: Page, home: string, source: ListSourcesResponse['sources'][number]) {
  const from = iso(Date.now() - 3_600_000);
  const to = iso(Date.now());
  const answer = await ask<ListLogEventsResponse>(
    `/api/v1/logs/events?start=${from}&end=${to}&source=${encodeURIComponent(source.name)}&limit=100`,
  );
  await open(page, `${home}/logs?from=${from}&to=${to}&tz=utc`);
  const entries = page.locator('.panel[aria-label=Entries] tbody tr');
  equal('logs: entries', await entries.count(), answer.events.length);
  const first = (await entries.first().textContent()) ?? '';
  check('logs: the newest first', first.includes(answer.events[0]?.message ?? '?'), first);
  const all = (await page.textContent('main')) ?? '';
  check('logs: no planted value', !all.includes('planted-secret') && all.includes('no_such_table'), all);
  const errors = answer.events.filter((event) => ['ERROR', 'FATAL', 'PANIC'].includes(event.severity)).length;
  await page.locator('.panel[aria-label=Entries] select').selectOption('errors');
  await page.waitForURL(/severity=errors/);
  await settled(page);
  equal('logs: errors alone', await entries.count(), errors);
  await page.locator('.panel[aria-label=Entries] input[type=search]').fill('DUPLICATE key');
  await page.keyboard.press('Enter');
  await page.waitForURL(/text=/);
  await settled(page);
  const found = await entries.allTextContents();
  check('logs: a part of a text, in any case', found.length > 0 && found.every((one) => one.includes('duplicate key')));
  await open(page, `${home}/logs?from=${from}&to=${to}&tz=utc`);
  await page.locator('.panel[aria-label=Classes] button.link', { hasText: 'undefined table' }).first().click();
  await page.waitForURL(/class=undefined_table/);
  await settled(page);
  check(
    'logs: a click on a class is a filter',
    (await entries.allTextContents()).every((one) => one.includes('undefined table')),
  );
  await byApiOf(page, 'Entries');
  const off = { what: 'log', reason: 'logging_collector is off', database: '', off: true };
  await page.route('**/api/v1/sources', (route) =>
    route.fulfill({ json: { sources: [{ ...source, not_collected: [off] }], count: 1 } }),
  );
  await page.route('**/api/v1/logs/events*', (route) =>
    route.fulfill({ json: { events: [], next_page: '', texts_hidden: false } }),
  );
  await open(page, `${home}/logs?from=-15m`);
  const said = (await page.textContent('main')) ?? '';
  check('logs: what turns it on is said', said.includes('logging_collector is off'), said);
  await open(page, '/?from=-15m');
  const fleet = (await page.textContent('main')) ?? '';
  check('fleet: a log that is off is no trouble', !fleet.includes('logging_collector'), fleet);
  await page.unroute('**/api/v1/logs/events*');
  await page.unroute('**/api/v1/sources');
}

// The question behind a panel, as the page itself says it.
async function byApiOf(page: Page, title: string): Promise<string> {
  await menu(page, title, 'By API');
  const line = (await page.locator('dialog[open] pre').first().textContent()) ?? '';
  const pgactl = (await page.locator('dialog[open] pre').nth(1).textContent()) ?? '';
  check(
    `${title}: by API has curl and pgactl`,
    line.startsWith('curl -s ') && pgactl.startsWith('pgactl '),
    line + pgactl,
  );
  check(`${title}: the line holds no token`, line.includes('$TOKEN') && !line.includes('eyJ'));
  await page.locator('dialog[open] button[aria-label=Close]').click();
  return new URL(line.replace(/^curl -s '?/, '').replace(/'? -H .*$/, '')).href.slice(base.length);
}

async function menu(page: Page, title: string, item: string) {
  await page.getByRole('button', { name: `Numbers of ${title}` }).click();
  await page.getByRole('menuitem', { name: item }).click();
}

// Two tabs share one session: each expiry is one renewal after the other, and nobody is signed out.
async function tabs(context: BrowserContext, first: Page, home: string) {
  const second = await context.newPage();
  await second.goto(base + home);
  await settled(second);
  check('a second tab is signed in', (await second.locator('h1').count()) === 1);
  let renewals = 0;
  const refused: number[] = [];
  for (const page of [first, second]) {
    await page.clock.install();
    page.on('response', (response) => {
      if (!response.url().endsWith('/auth/refresh')) return;
      renewals++;
      if (response.status() !== 200) refused.push(response.status());
    });
    await page.reload();
    await page.clock.fastForward(1000);
    await settled(page);
  }
  const before = renewals;
  const rounds = 100;
  for (let i = 0; i < rounds; i++) {
    const had = renewals;
    await Promise.all([first, second].map((page) => page.clock.fastForward(24 * 3600 * 1000)));
    for (let wait = 0; renewals === had && wait < 200; wait++) await new Promise((done) => setTimeout(done, 10));
  }
  check(
    `${rounds} expiries in two tabs: ${renewals - before} renewals`,
    renewals - before >= rounds,
    renewals - before,
  );
  equal('none of them was refused', refused, []);
  for (const page of [first, second]) {
    await page.getByRole('button', { name: 'Refresh', exact: true }).click();
    await page.clock.fastForward(500);
    check('the tab is signed in', (await page.locator('input[name=password]').count()) === 0);
  }
  complaints.splice(0);
}

async function signOutEverywhere(context: BrowserContext) {
  const [first, second] = context.pages();
  if (!first || !second) return;
  await first.locator('.top .menu button').click();
  await first.getByRole('menuitem', { name: 'Sign out' }).click();
  await first.waitForSelector('input[name=password]');
  await second.waitForSelector('input[name=password]');
  check('signing out in one tab is signing out in all', true);
}

// Who may less sees less, and the page says so.
async function viewer(home: string) {
  const context = await newContext();
  const page = await context.newPage();
  await signIn(page, 'viewer', process.env.VIEWER_PASSWORD ?? '');
  await settled(page);
  check('a viewer has no link to Admin', (await page.locator('nav a', { hasText: 'Admin' }).count()) === 0);
  await open(page, '/admin');
  check('and learns who it is for', ((await page.textContent('main')) ?? '').includes('for administrators'));
  await open(page, `${home}?from=-15m`);
  check('a viewer sees the load', (await page.locator('.u-over').count()) > 0);
  await nextPerson(page, { base, source: '', check, settled }, 'admin', password);
  equal('no complaint of the browser for a viewer', complaints.splice(0), []);
  await context.close();
}

// 500 sources: the answer of the API, repeated under other names.
async function many(name: string) {
  const context = await newContext();
  const page = await context.newPage();
  const answer = await ask<ListSourcesResponse>('/api/v1/sources');
  const model = answer.sources.find((source) => source.name === name);
  const states = ['up', 'up', 'up', 'up', 'up', 'up', 'incomplete', 'silent', 'down', 'up'];
  const sources = Array.from({ length: 500 }, (_, i) => ({
    ...model,
    id: `${i}`.padStart(36, '0'),
    name: `db-${i}`,
    state: states[i % 10],
    message: i % 10 === 8 ? 'connection refused' : '',
  }));
  await page.route('**/api/v1/sources', (route) => route.fulfill({ json: { sources, count: 500 } }));
  await signIn(page, 'admin', password);
  await settled(page);
  const began = performance.now();
  await page.getByRole('button', { name: 'Refresh', exact: true }).click();
  await settled(page);
  const took = Math.round(performance.now() - began);
  check(`500 sources, refreshed in ${took} ms`, (await page.locator('.table tbody tr').count()) === 500);
  equal(
    'the worst come first',
    await page.$$eval('.table tbody tr:nth-child(-n+3) .mark', (all) => all.map((one) => one.textContent)),
    ['down', 'down', 'down'],
  );
  await picture(page, 'fleet-500-light', false);
  await page.fill('input[aria-label="Filter sources"]', 'db-499');
  await page.waitForFunction(() => document.querySelectorAll('.table tbody tr').length === 1);
  check('a filter is in the address', page.url().includes('source=db-499'));
  await context.close();
}

// Pictures for the README: a range of the last minutes, both themes.
async function readme() {
  const { sources } = await ask<ListSourcesResponse>('/api/v1/sources');
  const source = sources.find((one) => one.kind === 'server');
  if (!source) throw new Error('no server is watched');
  const home = `/s/${encodeURIComponent(source.name)}`;
  const context = await newContext(1280, 800);
  const page = await context.newPage();
  await signIn(page, 'admin', password);
  for (const [name, path, theme] of [
    ['console-load', home, 'light'],
    ['console-blocking', `${home}/blocking`, 'dark'],
  ] as const) {
    await page.emulateMedia({ colorScheme: theme, reducedMotion: 'reduce' });
    await open(page, `${path}?from=-4m&tz=utc`);
    await picture(page, name, false);
  }
  // What pgactl printed, as it printed it.
  const printed = readFileSync(process.env.TERMINAL ?? '', 'utf8');
  await page.setContent('<pre id="t"></pre>');
  await page.evaluate((text) => {
    const pre = document.getElementById('t') as HTMLPreElement;
    pre.textContent = text;
    document.body.style.cssText = 'margin:0;background:#101215';
    pre.style.cssText =
      'margin:0;padding:16px 20px;display:inline-block;font:13px/19px "DejaVu Sans Mono",monospace;color:#e6e9ec';
  }, printed);
  await page.locator('#t').screenshot({ path: join(pictures, 'terminal.png') });
  await context.close();
}

try {
  if (mode === 'empty') await emptySuite();
  else if (mode === 'pictures') await readme();
  else await full();
} catch (error) {
  check('the run went on to its end', false, error instanceof Error ? error.stack : error);
} finally {
  await browser.close();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
