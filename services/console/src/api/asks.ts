// Questions of the pages: each is one call, with the URL and the line of pgactl that give the same figures.

import type { Range } from '../state/time.ts';
import { iso } from '../state/time.ts';
import { requestUrl } from './client.ts';
import * as api from './generated.ts';

export interface Ask<T> {
  // The same for the same question.
  key: string;
  path: string;
  // Absent where there is no such command.
  pgactl?: string;
  run: (signal: AbortSignal) => Promise<T>;
}

function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function words(...parts: (string | undefined | false)[]): string {
  return parts.filter(Boolean).join(' ');
}

function options(name: string, values: readonly string[] | undefined): string {
  return (values ?? []).map((value) => `--${name} ${quote(value)}`).join(' ');
}

const ranged = (range: Range) => ({ start: iso(range.start), end: iso(range.end) });
const rangeOptions = (range: Range) => `--from ${iso(range.start)} --to ${iso(range.end)}`;

export function sources(): Ask<api.ListSourcesResponse> {
  const path = '/api/v1/sources';
  return { key: path, path, pgactl: 'pgactl sources', run: (signal) => api.listSources({}, { signal }) };
}

export interface SeriesQuestion {
  metric: string;
  column: string;
  source?: string[];
  filter?: string[];
  step?: number;
  aggregate?: api.Aggregate;
  rate?: boolean;
  groupBy?: string[];
  limit?: number;
}

export function series(range: Range, question: SeriesQuestion): Ask<api.Series[]> {
  const request: api.QuerySeriesRequest = {
    metric: question.metric,
    column: question.column,
    ...ranged(range),
    ...(question.source ? { source: question.source } : {}),
    ...(question.filter ? { filter: question.filter } : {}),
    ...(question.step ? { step: question.step } : {}),
    ...(question.aggregate ? { aggregate: question.aggregate } : {}),
    ...(question.rate ? { rate: true } : {}),
    ...(question.groupBy ? { group_by: question.groupBy } : {}),
    ...(question.limit ? { limit: question.limit } : {}),
  };
  const path = requestUrl('/api/v1/series', request);
  const pgactl = words(
    `pgactl series ${question.metric} ${question.column}`,
    rangeOptions(range),
    options('source', question.source),
    options('filter', question.filter),
    options('by', question.groupBy),
    question.rate && '--rate',
    question.aggregate && `--aggregate ${question.aggregate}`,
    question.step ? `--step ${question.step}` : '',
    question.limit ? `--limit ${question.limit}` : '',
  );
  return { key: path, path, pgactl, run: (signal) => api.querySeries(request, { signal }) };
}

export function top(
  range: Range,
  question: { source?: string[]; orderBy?: string; limit?: number; id?: string[] },
): Ask<api.TopQueriesResponse> {
  const request: api.TopQueriesRequest = {
    ...ranged(range),
    ...(question.source ? { source: question.source } : {}),
    ...(question.orderBy ? { order_by: question.orderBy } : {}),
    ...(question.limit ? { limit: question.limit } : {}),
    // In one value: the number of parameters of an address is bounded.
    ...(question.id ? { query_id: [question.id.join(',')] } : {}),
  };
  const path = requestUrl('/api/v1/queries/top', request);
  const pgactl = words(
    'pgactl top',
    rangeOptions(range),
    options('source', question.source),
    question.orderBy && `--by ${question.orderBy}`,
    question.id && `--id ${question.id.join(',')}`,
    question.limit ? `--limit ${question.limit}` : '',
  );
  return { key: path, path, pgactl, run: (signal) => api.topQueries(request, { signal }) };
}

export function comparison(
  before: Range,
  after: Range,
  question: { source: string[]; limit: number },
): Ask<api.CompareQueriesResponse> {
  const request: api.CompareQueriesRequest = {
    before_from: iso(before.start),
    before_to: iso(before.end),
    after_from: iso(after.start),
    after_to: iso(after.end),
    source: question.source,
    limit: question.limit,
  };
  const path = requestUrl('/api/v1/queries/comparison', request);
  const minutes = Math.round((after.end - after.start) / 60_000);
  const pgactl = words(
    'pgactl compare',
    `--from ${iso(after.start)} --with ${iso(before.start)} --minutes ${minutes}`,
    options('source', question.source),
    `--limit ${question.limit}`,
  );
  return { key: path, path, pgactl, run: (signal) => api.compareQueries(request, { signal }) };
}

export function timeline(
  range: Range,
  question: { id: string; source?: string[]; step?: number },
): Ask<api.QueryTimelineResponse> {
  const request: api.QueryTimelineRequest = {
    query_hash: question.id,
    ...ranged(range),
    ...(question.source ? { source: question.source } : {}),
    ...(question.step ? { step: question.step } : {}),
  };
  const path = requestUrl('/api/v1/queries/{query_hash}/timeline', request);
  const pgactl = words(
    // A word that begins with a dash would be taken for an option.
    'pgactl timeline',
    rangeOptions(range),
    options('source', question.source),
    question.step ? `--step ${question.step}` : '',
    question.id.startsWith('-') ? `-- ${question.id}` : question.id,
  );
  return { key: path, path, pgactl, run: (signal) => api.queryTimeline(request, { signal }) };
}

export function activityAt(at: number | undefined, source?: string[], limit = 1000): Ask<api.GetActivityResponse> {
  const request: api.GetActivityRequest = {
    ...(at === undefined ? {} : { at: iso(at) }),
    ...(source ? { source } : {}),
    limit,
  };
  const path = requestUrl('/api/v1/activity', request);
  const pgactl = words(
    'pgactl activity',
    at !== undefined && `--at ${iso(at)}`,
    options('source', source),
    `--limit ${limit}`,
  );
  return { key: path, path, pgactl, run: (signal) => api.getActivity(request, { signal }) };
}

export function activityIn(range: Range, source?: string[], limit = 1000): Ask<api.GetActivityResponse> {
  const request: api.GetActivityRequest = { ...ranged(range), ...(source ? { source } : {}), limit };
  const path = requestUrl('/api/v1/activity', request);
  const pgactl = words('pgactl activity', rangeOptions(range), options('source', source), `--limit ${limit}`);
  return { key: path, path, pgactl, run: (signal) => api.getActivity(request, { signal }) };
}

export function stateOf(
  range: Range,
  question: { metric: string; source?: string[]; filter?: string[]; column?: string[]; limit?: number },
): Ask<api.GetStateResponse> {
  const request: api.GetStateRequest = {
    metric: question.metric,
    ...ranged(range),
    ...(question.source ? { source: question.source } : {}),
    ...(question.filter ? { filter: question.filter } : {}),
    ...(question.column ? { column: question.column } : {}),
    ...(question.limit ? { limit: question.limit } : {}),
  };
  const path = requestUrl('/api/v1/state', request);
  const pgactl = words(
    `pgactl state ${question.metric}`,
    rangeOptions(range),
    options('source', question.source),
    options('filter', question.filter),
    options('column', question.column),
    question.limit ? `--limit ${question.limit}` : '',
  );
  return { key: path, path, pgactl, run: (signal) => api.getState(request, { signal }) };
}

interface RowsQuestion {
  metric: string;
  column?: string[];
  source?: string[];
  filter?: string[];
  sort?: string;
  limit?: number;
}

// Readings as of the end of the range, counters added up over it.
export function rows(range: Range, question: RowsQuestion): Ask<api.GetRowsResponse> {
  const request: api.GetRowsRequest = {
    metric: question.metric,
    ...(question.column ? { column: question.column } : {}),
    ...ranged(range),
    ...(question.source ? { source: question.source } : {}),
    ...(question.filter ? { filter: question.filter } : {}),
    ...(question.sort ? { sort: question.sort } : {}),
    ...(question.limit ? { limit: question.limit } : {}),
  };
  const path = requestUrl('/api/v1/rows', request);
  const pgactl = words(
    `pgactl rows ${question.metric}`,
    rangeOptions(range),
    options('source', question.source),
    options('filter', question.filter),
    options('column', question.column),
    question.sort && `--sort ${question.sort}`,
    question.limit ? `--limit ${question.limit}` : '',
  );
  return { key: path, path, pgactl, run: (signal) => api.getRows(request, { signal }) };
}

export interface LogQuestion {
  source?: string[];
  severity?: string[];
  class?: string[];
  text?: string;
  // next_page of the answer before.
  page?: string;
  limit?: number;
}

export function logEvents(range: Range, question: LogQuestion): Ask<api.ListLogEventsResponse> {
  const request: api.ListLogEventsRequest = { ...ranged(range), ...question };
  const path = requestUrl('/api/v1/logs/events', request);
  const pgactl = words(
    'pgactl logs',
    rangeOptions(range),
    options('source', question.source),
    options('severity', question.severity),
    options('class', question.class),
    question.text && `--text ${quote(question.text)}`,
    question.page && `--page ${question.page}`,
    question.limit ? `--limit ${question.limit}` : '',
  );
  return { key: path, path, pgactl, run: (signal) => api.listLogEvents(request, { signal }) };
}

export function plans(range: Range, question: { id: string; source: string[] }): Ask<api.ListPlansResponse> {
  const request: api.ListPlansRequest = { ...ranged(range), source: question.source, query_id: question.id };
  const path = requestUrl('/api/v1/plans', request);
  const pgactl = words(
    'pgactl plans',
    rangeOptions(range),
    options('source', question.source),
    `--query-id=${question.id}`,
  );
  return { key: path, path, pgactl, run: (signal) => api.listPlans(request, { signal }) };
}

export function freshness(range: Range, source?: string[]): Ask<api.GetFreshnessResponse> {
  const request: api.GetFreshnessRequest = { ...ranged(range), ...(source ? { source } : {}) };
  const path = requestUrl('/api/v1/freshness', request);
  const pgactl = words('pgactl freshness', rangeOptions(range), options('source', source));
  return { key: path, path, pgactl, run: (signal) => api.getFreshness(request, { signal }) };
}

export function config(id: string): Ask<string> {
  const path = `/api/v1/config/${encodeURIComponent(id)}`;
  return {
    key: path,
    path,
    pgactl: `pgactl config get ${id}`,
    run: (signal) => api.getConfig({ collector_id: id }, { signal }),
  };
}

// All pages of the list, one after the other.
export function collectors(): Ask<api.Collector[]> {
  const path = '/api/v1/collectors?page_size=100';
  return {
    key: path,
    path,
    pgactl: 'pgactl collectors',
    run: async (signal) => {
      const all: api.Collector[] = [];
      for (let page = 1; ; page++) {
        const answer = await api.listCollectors({ page, page_size: 100 }, { signal });
        all.push(...answer.data);
        if (page >= answer.total_pages) return all;
      }
    },
  };
}

// The newest hundred: those that have not ended (active), or those that have.
export function alerts(state: 'active' | 'resolved'): Ask<api.ListAlertsResponse> {
  const request = { state, page_size: 100 };
  const path = requestUrl('/api/v1/alerts', request);
  return {
    key: path,
    path,
    pgactl: `pgactl alerts list --state ${state} --limit 100`,
    run: (signal) => api.listAlerts(request, { signal }),
  };
}

// Over the week before now: advice is of the present.
export function advice(source: string | undefined, dismissed: boolean): Ask<api.ListAdviceResponse> {
  const request = { ...(source ? { source: [source] } : {}), ...(dismissed ? { dismissed: true } : {}) };
  const path = requestUrl('/api/v1/advice', request);
  return {
    key: path,
    path,
    pgactl: words('pgactl advice list', source && `--source ${quote(source)}`, dismissed && '--dismissed'),
    run: (signal) => api.listAdvice(request, { signal }),
  };
}

// Of one severity, the newest hundred that nobody has resolved.
export function anomalies(severity: string): Ask<api.ListAnomaliesResponse> {
  const request = { severity, limit: 100 };
  const path = requestUrl('/api/v1/anomalies', request);
  return {
    key: path,
    path,
    pgactl: `pgactl anomalies list --severity ${severity} --limit 100`,
    run: (signal) => api.listAnomalies(request, { signal }),
  };
}

// Over the month before now, the clearest hundred; hours are those of the zone.
export function patterns(type: string, timeZone: string): Ask<api.WorkloadPattern[]> {
  const request = { ...(type ? { pattern_type: type } : {}), time_zone: timeZone, limit: 100 };
  const path = requestUrl('/api/v1/workload-patterns', request);
  return {
    key: path,
    path,
    pgactl: words('pgactl patterns', type && `--type ${type}`, `--time-zone ${quote(timeZone)}`, '--limit 100'),
    run: (signal) => api.listPatterns(request, { signal }),
  };
}

export function loadComparison(
  range: Range,
  question: { source: string; by: string; weeks: number },
): Ask<api.CompareLoadResponse> {
  const minutes = Math.round((range.end - range.start) / 60_000);
  const request: api.CompareLoadRequest = {
    start: iso(range.start),
    minutes,
    weeks: question.weeks,
    source: [question.source],
    by: question.by,
    limit: 100,
  };
  const path = requestUrl('/api/v1/load/comparison', request);
  const pgactl = words(
    'pgactl load compare',
    `--from ${iso(range.start)} --minutes ${minutes} --weeks ${question.weeks}`,
    options('source', [question.source]),
    `--by ${question.by} --limit 100`,
  );
  return { key: path, path, pgactl, run: (signal) => api.compareLoad(request, { signal }) };
}

export function silences(): Ask<api.ListSilencesResponse> {
  const path = '/api/v1/silences';
  return { key: path, path, pgactl: 'pgactl alerts silences', run: (signal) => api.listSilences({}, { signal }) };
}

export function alertRules(): Ask<api.ListRulesResponse> {
  const path = '/api/v1/alert-rules';
  return { key: path, path, pgactl: 'pgactl alerts rules', run: (signal) => api.listRules({}, { signal }) };
}

export function storage(): Ask<api.GetStorageResponse> {
  const path = '/api/v1/storage';
  return { key: path, path, pgactl: 'pgactl storage', run: (signal) => api.getStorage({}, { signal }) };
}

export function users(): Ask<api.User[]> {
  const path = '/api/v1/users';
  return { key: path, path, pgactl: 'pgactl users list', run: (signal) => api.listUsers({}, { signal }) };
}

export function tokens(): Ask<api.ListApiTokensResponse> {
  const path = '/api/v1/tokens';
  return { key: path, path, pgactl: 'pgactl tokens list', run: (signal) => api.listApiTokens({}, { signal }) };
}

export function secrets(): Ask<api.ListRegistrationSecretsResponse> {
  const path = '/api/v1/registration-secrets';
  return {
    key: path,
    path,
    pgactl: 'pgactl secrets list',
    run: (signal) => api.listRegistrationSecrets({}, { signal }),
  };
}

export function managedInstances(): Ask<api.ManagedInstance[]> {
  const path = '/api/v1/managed-instances';
  return { key: path, path, pgactl: 'pgactl managed list', run: (signal) => api.listManagedInstances({}, { signal }) };
}

// The line for a shell; the token is the caller's own.
export function curlOf(ask: Pick<Ask<unknown>, 'path'>, origin: string): string {
  return `curl -s ${quote(origin + ask.path)} -H "Authorization: Bearer $TOKEN"`;
}
