// Uses the generated client in TypeScript against the suite at URL; prints a line for each thing that was seen.
import { type ApiError, connect } from 'pganalytics-client';

declare const process: { env: Record<string, string | undefined> };
const url = process.env['URL'] ?? '';

function expect(good: boolean, seen: unknown): void {
  if (!good) throw new Error(JSON.stringify(seen));
}

const anybody = connect({ url });
const refused = await anybody.POST('/api/v1/auth/login', { body: { username: 'admin', password: 'not the password' } });
expect(refused.data === undefined && refused.error?.code === 401, refused);
const session = await anybody.POST('/api/v1/auth/login', {
  body: { username: 'admin', password: process.env['ADMIN_PASSWORD'] ?? '' },
});
if (!session.data) throw new Error(session.error.message);
expect(session.data.user?.username === 'admin', session.data);
console.log('signed in as', session.data.user?.username);

const { token } = session.data;
const client = connect({ url: `${url}/`, token: () => Promise.resolve(token) });
const listed = await client.GET('/api/v1/sources');
if (!listed.data) throw new Error(listed.error.message);
const names = listed.data.sources.map((source) => source.name);
expect(names.length > 0 && names.length === listed.data.count, listed.data);
console.log('sources:', names.join(', '));

const series = await client.GET('/api/v1/series', {
  params: { query: { metric: 'database', column: 'xact_commit', rate: true, hours: 1, source: names.slice(0, 1) } },
});
if (!series.data) throw new Error(series.error.message);
expect(series.data.length > 0 && series.data[0]?.source_name === names[0], series.data);
console.log(series.data.length, 'series,', series.data.reduce((sum, one) => sum + one.points.length, 0), 'points');

const top = await client.GET('/api/v1/queries/top', { params: { query: { hours: 1, order_by: 'calls', limit: 3 } } });
if (!top.data) throw new Error(top.error.message);
const calls = top.data.queries.map((query) => Number(query.calls));
expect(calls.length > 0 && calls.length <= 3 && calls.every((one, i) => one > 0 && one <= (calls[i - 1] ?? one)), calls);
console.log('top statements:', calls.join(', '));

const seen: string[] = [];
let pages = 0;
for (let last = 1; pages < last; ) {
  pages += 1;
  const page = await client.GET('/api/v1/collectors', { params: { query: { page: pages, page_size: 1 } } });
  if (!page.data) throw new Error(page.error.message);
  seen.push(...page.data.data.map((collector) => collector.id));
  last = page.data.total_pages;
}
expect(pages === 2 && seen.sort().join() === 'clients-1,clients-2', seen);
console.log(pages, 'pages of collectors');

const wrong = await client.GET('/api/v1/queries/top', { params: { query: { order_by: 'nothing' } } });
const error: ApiError | undefined = wrong.error;
expect(wrong.response.status === 400 && (error?.message.includes('order_by') ?? false) && error?.request_id !== '', wrong.error);
console.log('refused:', error?.message);
