// One statement: its text, its figures on one time axis, its plans, by database and user. Asks: the timeline, the plans, and
// the figures by database and user of the range and of the span before it.

import { useRef } from 'preact/hooks';
import * as ask from '../api/asks.ts';
import type { StatementPlan, TopQuery } from '../api/generated.ts';
import { Chart, type Marker } from '../charts/chart.tsx';
import { colorAt } from '../charts/colors.ts';
import { type Columns, covered, partOf } from '../charts/gaps.ts';
import { findSource, type Page, refOfId, sourceHref, statementHref, useReadings, useSources } from '../state/page.ts';
import { type Answer, useAsk } from '../state/query.ts';
import { before, dateTime, type Zone } from '../state/time.ts';
import { count, milliseconds, percent, withUnit } from '../state/units.ts';
import { setRange } from '../state/url.ts';
import { Unknown } from '../ui/cells.tsx';
import { Copy, chartData, Panel } from '../ui/panel.tsx';
import { cutText, Sql } from '../ui/sql.tsx';
import { format } from '../ui/sqltext.ts';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
import { identity } from './statements.tsx';

export function StatementPage({ page, source: name, id }: { page: Page; source?: string; id: string }) {
  return name ? <OfSource page={page} name={name} id={id} /> : <OverFleet page={page} id={id} />;
}

// The same statement on every source that runs it.
function OverFleet({ page, id }: { page: Page; id: string }) {
  const question = ask.top(page.range, { id: [id], limit: 1000 });
  const answer = useAsk(question, page.view.now);
  const all = useSources().data?.sources ?? [];
  const columns: Column<TopQuery>[] = [
    {
      key: 'source',
      title: 'Source',
      class: 'grow',
      value: (row) => row.source_name,
      cell: (row) => <a href={statementHref(refOfId(row.source_id, all), id)}>{row.source_name}</a>,
    },
    ...partColumns,
  ];
  return (
    <>
      <div class="head">
        <h1>Statement {id}</h1>
      </div>
      <TablePanel
        title="By source"
        note={answer.data && `${percent(answer.data.completeness)} covered`}
        asks={[question]}
        answers={[answer]}
        columns={columns}
        rows={answer.data?.queries ?? []}
        rowKey={(row) => `${row.source_id} ${row.database_name} ${row.user_name}`}
        sort="-time"
        skeleton={200}
        empty={<Empty title="This statement did not run in the range." />}
      />
    </>
  );
}

function OfSource({ page, name, id }: { page: Page; name: string; id: string }) {
  const { view, range } = page;
  const readings = useReadings(page, name);
  const sources = useSources();
  const source = findSource(name, sources.data?.sources ?? []);
  const step = readings.step(120, 'statements');
  const timelineAsk = step ? ask.timeline(range, { id, source: [name], step }) : undefined;
  const timeline = useAsk(timelineAsk, view.now);
  const partsAsk = ask.top(range, { source: [name], id: [id], limit: 200 });
  const thenAsk = ask.top(before(range), { source: [name], id: [id], limit: 200 });
  const parts = useAsk(partsAsk, view.now);
  const plansAsk = ask.plans(range, { id, source: [name] });
  const plans = useAsk(plansAsk, view.now);
  const markers: Marker[] = (plans.data?.changes ?? []).map((change) => ({
    at: Date.parse(change.seen_after ?? ''),
    label: 'another plan',
  }));
  const then = useAsk(thenAsk, view.now);

  const points = timeline.data?.data ?? [];
  const columns: Columns = {
    x: points.map((point) => Date.parse(point.time ?? '') / 1000),
    values: [],
    coverage: points.map((point) => partOf(Date.parse(point.time ?? '') / 1000, point.covered_ms, step ?? 60, range)),
    step: step ?? 60,
  };
  // Rates divide by covered time; a bucket that nothing covers has none.
  const rate = (value: (point: (typeof points)[number]) => number) =>
    points.map((point) => (point.covered_ms > 0 ? (value(point) / point.covered_ms) * 1000 : null));
  const charts = [
    { title: 'Calls', unit: '1/s', lines: [{ label: 'calls', values: rate((point) => point.calls) }] },
    {
      title: 'Mean time',
      unit: 'ms',
      lines: [
        { label: 'mean', values: points.map((point) => (point.covered_ms > 0 ? (point.mean_time ?? null) : null)) },
      ],
    },
    { title: 'Rows', unit: 'rows/s', lines: [{ label: 'rows', values: rate((point) => point.rows) }] },
    {
      title: 'Blocks',
      unit: 'blocks/s',
      lines: [
        { label: 'found in buffers', values: rate((point) => point.shared_blks_hit) },
        { label: 'read', values: rate((point) => point.shared_blks_read) },
      ],
    },
    {
      title: 'Time for I/O and planning',
      unit: 'ms/s',
      lines: [
        { label: 'reading and writing blocks', values: rate((point) => point.io_time) },
        { label: 'planning', values: rate((point) => point.plan_time) },
      ],
    },
    {
      title: 'WAL written',
      unit: 'bytes/s',
      lines: [{ label: 'WAL', values: rate((point) => point.wal_bytes) }],
    },
    {
      title: 'Temporary blocks',
      unit: 'blocks/s',
      lines: [
        { label: 'written', values: rate((point) => point.temp_blks_written) },
        { label: 'read', values: rate((point) => point.temp_blks_read) },
      ],
    },
    {
      title: 'Blocks changed',
      unit: 'blocks/s',
      lines: [
        { label: 'dirtied', values: rate((point) => point.shared_blks_dirtied) },
        { label: 'written by itself', values: rate((point) => point.shared_blks_written) },
      ],
    },
  ];
  const total = points.reduce(
    (sum, point) => ({
      calls: sum.calls + point.calls,
      time: sum.time + point.total_time,
      rows: sum.rows + point.rows,
    }),
    {
      calls: 0,
      time: 0,
      rows: 0,
    },
  );
  const text = timeline.data?.query_text ?? '';
  const compareHref = sourceHref(name, 'compare');
  const former = new Map((then.data?.queries ?? []).map((row) => [identity(row), row]));
  const comparable = (then.data?.completeness ?? 0) > 0.5;
  const columnsOfParts: Column<TopQuery>[] = [
    { key: 'database', title: 'Database', class: 'grow', value: (row) => row.database_name || 'dropped' },
    { key: 'user', title: 'User', value: (row) => row.user_name },
    ...partColumns,
    {
      key: 'mean_before',
      title: 'Mean before',
      numeric: true,
      hint: 'In the span before of the same length',
      value: (row) => former.get(identity(row))?.mean_time ?? null,
      cell: (row) => {
        const found = former.get(identity(row));
        if (!comparable) return <Unknown />;
        return found && found.calls > 0 ? milliseconds(found.mean_time) : 'no call';
      },
    },
    {
      key: 'io_time',
      title: 'I/O time',
      numeric: true,
      wide: true,
      value: (row) => row.io_time,
      cell: (row) => milliseconds(row.io_time),
    },
    {
      key: 'wal_bytes',
      title: 'WAL',
      numeric: true,
      wide: true,
      value: (row) => row.wal_bytes,
      cell: (row) => withUnit(row.wal_bytes, 'bytes'),
    },
  ];
  return (
    <>
      <div class="head">
        <h1>Statement</h1>
        <p class="facts">
          <a href={sourceHref(name, 'statements')}>{source?.name ?? name}</a>
          <span class="mono">{id}</span>
          {timeline.data && (
            <>
              <span>{total.calls === 1 ? '1 call' : `${count(total.calls)} calls`}</span>
              <span>{milliseconds(total.time)} in all</span>
              <span>{total.calls > 0 ? `${milliseconds(total.time / total.calls)} mean` : 'no calls'}</span>
              <span>{percent(covered(columns, range))} of the range covered</span>
            </>
          )}
        </p>
      </div>
      <Panel
        title="Text"
        asks={[timelineAsk]}
        error={timeline.error}
        loading={timeline.loading}
        skeleton={timeline.data ? undefined : 96}
        tools={text && <a href={statementFleetHref(id)}>on all sources</a>}
      >
        {text ? (
          <Text text={text} />
        ) : (
          <Empty title="The text is not known.">
            Texts follow their figures within minutes, where the collector may read them (QUERY_TEXT) and this account
            may see them.
          </Empty>
        )}
      </Panel>
      <div class="grid">
        {charts.map((chart) => (
          <TimelineChart
            key={chart.title}
            {...chart}
            page={page}
            columns={columns}
            ask={timelineAsk}
            markers={markers}
            answer={timeline}
          />
        ))}
      </div>
      <TablePanel
        title="Plans"
        note={
          plans.data && plans.data.changes_found > 0
            ? `${plans.data.changes_found === 1 ? 'another plan' : `${plans.data.changes_found} changes`} in this range, marked above`
            : 'as auto_explain logged them or EXPLAIN gave them, without values and costs'
        }
        asks={[plansAsk]}
        answers={[plans]}
        columns={columnsOfPlans(page.zone)}
        rows={plans.data?.plans ?? []}
        rowKey={(row) => `${row.plan_id} ${row.database_name}`}
        sort="-last"
        empty={
          <Empty title="No plan of it was seen in this range.">
            Plans come from the server's log: ALTER SYSTEM SET session_preload_libraries = 'auto_explain'; ALTER SYSTEM
            SET auto_explain.log_min_duration = '250ms'; SELECT pg_reload_conf(). Without it the collector asks the
            server for them, where its database has what this prints: pganalytics-collector --explain-setup.
          </Empty>
        }
      />
      <TablePanel
        title="By database and user"
        tools={<a href={compareHref}>compare two windows</a>}
        asks={[partsAsk, thenAsk]}
        answers={[parts, then]}
        columns={columnsOfParts}
        rows={parts.data?.queries ?? []}
        rowKey={identity}
        sort="-time"
        empty={<Empty title="It did not run in this range." />}
      />
    </>
  );
}

const columnsOfPlans = (zone: Zone): Column<StatementPlan>[] => [
  {
    key: 'plan',
    title: 'Plan',
    class: 'grow',
    value: (row) => row.plan_id,
    cell: (row) => (row.tree ? <pre class="mono">{cutText(row.tree, row.tree_truncated)}</pre> : row.plan_id),
  },
  { key: 'database', title: 'Database', wide: true, value: (row) => row.database_name },
  { key: 'logged', title: 'Logged', numeric: true, value: (row) => row.logged, cell: (row) => count(row.logged) },
  {
    key: 'explained',
    title: 'Explained',
    numeric: true,
    hint: 'Times that EXPLAIN gave it, for any values and without running it',
    value: (row) => row.explained,
    cell: (row) => count(row.explained),
  },
  {
    key: 'mean',
    title: 'Mean',
    numeric: true,
    hint: 'Of the executions that were logged',
    value: (row) => (row.logged > 0 ? row.duration_ms / row.logged : 0),
    cell: (row) => (row.logged > 0 ? milliseconds(row.duration_ms / row.logged) : ''),
  },
  {
    key: 'first',
    title: 'First',
    value: (row) => row.first_seen ?? '',
    cell: (row) => <span class="nowrap">{dateTime(Date.parse(row.first_seen ?? ''), zone)}</span>,
  },
  {
    key: 'last',
    title: 'Last',
    value: (row) => row.last_seen ?? '',
    cell: (row) => <span class="nowrap">{dateTime(Date.parse(row.last_seen ?? ''), zone)}</span>,
  },
];

const statementFleetHref = (id: string) => `/q/${id}${location.search}`;

function Text({ text }: { text: string }) {
  const lines = format(text);
  return (
    <div class="statement-text">
      <pre tabIndex={0} role="region" aria-label="Text of the statement">
        <Sql text={lines} lines />
      </pre>
      <details>
        <summary>as it was sent</summary>
        <Copy text={text} label="Text as it was sent" />
      </details>
    </div>
  );
}

interface TimelineChartProps {
  title: string;
  unit: string;
  lines: { label: string; values: (number | null)[] }[];
  page: Page;
  columns: Columns;
  ask: ask.Ask<unknown> | undefined;
  markers: readonly Marker[];
  answer: Answer<unknown>;
}

function TimelineChart({ title, unit, lines, page, columns, ask: question, markers, answer }: TimelineChartProps) {
  const canvas = useRef<HTMLCanvasElement | null>(null);
  const drawn = lines.map((line, i) => ({ ...line, color: colorAt(i) }));
  return (
    <Panel
      title={title}
      asks={[question]}
      data={() => chartData(columns, lines, unit)}
      canvas={canvas}
      error={answer.error}
      loading={answer.loading}
      skeleton={answer.data ? undefined : 180}
    >
      <Chart
        title={title}
        kind="line"
        columns={columns}
        lines={drawn}
        unit={unit}
        range={page.range}
        zone={page.zone}
        height={140}
        sync="statement"
        markers={markers}
        onZoom={setRange}
        onCanvas={(made) => {
          canvas.current = made;
        }}
      />
    </Panel>
  );
}

const partColumns: Column<TopQuery>[] = [
  {
    key: 'time',
    title: 'Time',
    numeric: true,
    value: (row) => row.total_time,
    cell: (row) => milliseconds(row.total_time),
  },
  { key: 'calls', title: 'Calls', numeric: true, value: (row) => row.calls, cell: (row) => count(row.calls) },
  {
    key: 'mean',
    title: 'Mean',
    numeric: true,
    value: (row) => (row.calls > 0 ? row.mean_time : null),
    cell: (row) => (row.calls > 0 ? milliseconds(row.mean_time) : '–'),
  },
  { key: 'rows', title: 'Rows', numeric: true, value: (row) => row.rows, cell: (row) => count(row.rows) },
];
