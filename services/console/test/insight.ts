// Pages that need more history than a test has: their figures are the API's, and rows of answers that the test gives.
import type { Page } from 'playwright-core';
import type {
  CompareLoadResponse,
  DetectAnomaliesResponse,
  ListAnomaliesResponse,
  WorkloadPattern,
} from '../src/api/generated.ts';
import { withUnit } from '../src/state/units.ts';
import type { Tools } from './tasks.ts';

const anomaly = {
  id: 7,
  query_hash: '42',
  query_fingerprint_hash: '',
  anomaly_type: 'execution_time_spike',
  severity: 'medium',
  metric_name: 'mean_time',
  metric_value: 20,
  baseline_value: 2.05,
  spread: 0.205,
  z_score: 87.6,
  method: 'hour_of_week',
  baseline_hours: 4,
  calls: 1000,
  hour_start: '2026-01-01T11:00:00Z',
  detected_at: '2026-01-01T12:00:00Z',
  resolved: false,
  resolved_by: '',
  source_id: '00000000-0000-0000-0000-000000000001',
  source_name: 'orders',
  database_name: 'shop',
};
const pattern: WorkloadPattern = {
  pattern_type: 'hourly_peak',
  source_id: anomaly.source_id,
  source_name: 'orders',
  database_name: 'shop',
  start_hour: 9,
  end_hour: 11,
  weekday: 0,
  when: '09:00–11:00',
  load: 4,
  mean_load: 1.125,
  z_score: 4.8,
  days: 28,
  days_seen: 27,
  confidence: 27 / 28,
  method: 'median_by_hour_of_day',
  time_zone: 'UTC',
  completeness: 0.5,
};

export async function walkInsight(page: Page, { base, source, check, settled }: Tools) {
  const open = async (path: string) => {
    await page.goto(base + path);
    await settled(page);
  };
  const answerOf = async <T>(path: string, ask: () => Promise<unknown>): Promise<T> => {
    const [response] = await Promise.all([page.waitForResponse((one) => new URL(one.url()).pathname === path), ask()]);
    return (await response.json()) as T;
  };
  const cells = (panel: string) => page.locator(`.panel[aria-label="${panel}"] tbody tr`);

  // Anomalies: the search is the API's, a row is shown with its rule, and goes when somebody has looked at it.
  await open('/anomalies?tz=utc');
  const found = await answerOf<DetectAnomaliesResponse>('/api/v1/anomalies/detect', () =>
    page.getByRole('button', { name: 'Look at the last hour' }).click(),
  );
  await page.waitForFunction(
    (said) => document.querySelector('.panel header .note')?.textContent?.includes(said),
    found.message,
  );
  check('anomalies: what the search came to is said', true);
  let left = [anomaly];
  await page.route('**/api/v1/anomalies?*', (route) => {
    const severity = new URL(route.request().url()).searchParams.get('severity') ?? '';
    const anomalies = left.filter((one) => one.severity === severity);
    const answer = { severity, anomalies, count: anomalies.length } as ListAnomaliesResponse;
    return route.fulfill({ json: answer });
  });
  await page.route('**/api/v1/anomalies/7/resolve', (route) => {
    left = [];
    return route.fulfill({ json: { id: 7, status: 'resolved' } });
  });
  await page.locator('.panel[aria-label=Anomalies] select').selectOption('medium');
  await page.waitForURL(/severity=medium/);
  await settled(page);
  const row = (await cells('Anomalies').first().textContent()) ?? '';
  check(
    'anomalies: an hour with its value and its rule',
    row.includes('takes longer') && row.includes(withUnit(20, 'ms')) && row.includes(`${withUnit(2.05, 'ms')} (4)`),
    row,
  );
  const link = (await cells('Anomalies').first().locator('a').first().getAttribute('href')) ?? '';
  check('anomalies: it leads to the statement in that hour', /\/q\/42\?.*from=2026-01-01T10/.test(link), link);
  await page.getByRole('button', { name: 'Resolve' }).click();
  await page.waitForSelector('text=No anomaly of severity medium is open');
  check('anomalies: one that is resolved goes', true);
  await page.unroute('**/api/v1/anomalies?*');
  await page.unroute('**/api/v1/anomalies/7/resolve');

  // Patterns.
  const asked: string[] = [];
  await page.route('**/api/v1/workload-patterns?*', (route) => {
    asked.push(route.request().url());
    return route.fulfill({ json: [pattern] });
  });
  await open('/patterns?tz=utc');
  const shown = (await cells('Patterns').first().textContent()) ?? '';
  check(
    'patterns: when, how much and how often',
    shown.includes('each day 09:00–11:00') && shown.includes('busy') && shown.includes('27 of 28 days'),
    shown,
  );
  await page.locator('.panel[aria-label=Patterns] select').selectOption('hourly_peak');
  await page.waitForURL(/type=hourly_peak/);
  await settled(page);
  const last = new URL(asked.at(-1) ?? '').searchParams;
  check(
    'patterns: type and zone are asked for',
    last.get('pattern_type') === 'hourly_peak' && last.get('time_zone') === 'UTC',
    asked.at(-1),
  );
  await page.unroute('**/api/v1/workload-patterns?*');

  // The hour a week ago: figures of this one are the API's, those of a week before are unknown.
  const answer = await answerOf<CompareLoadResponse>('/api/v1/load/comparison', () =>
    open(`/s/${encodeURIComponent(source)}/weeks?from=-15m&tz=utc`),
  );
  const figures = await cells('Against an earlier week').evaluateAll((rows) =>
    rows.map((one) => [...one.querySelectorAll('td')].slice(1, 3).map((cell) => cell.textContent ?? '')),
  );
  const wanted = answer.figures.map((one) => [withUnit(one.before, one.unit), withUnit(one.now, one.unit)]);
  check(
    `weeks: ${wanted.length} figures of both`,
    JSON.stringify(figures) === JSON.stringify(wanted) && wanted.length === 8,
    JSON.stringify(figures) + JSON.stringify(wanted),
  );
  const said = (await page.textContent('main')) ?? '';
  check('weeks: what is not stored is said', said.includes('Of the week before nothing is stored'), said);
  await page.locator('.panel[aria-label=Sessions] select').selectOption('application');
  await page.waitForURL(/by=application/);
  await settled(page);
  check(
    'weeks: sessions by application, and no change from an unknown hour',
    (await cells('Sessions').allTextContents()).some((one) => /^shop ?unknown.*unknown$/.test(one)),
    (await cells('Sessions').allTextContents()).join(' | '),
  );
}
