// One statement: its text, its figures on one time axis, by database and user. Asks: the timeline, WAL, I/O time, and the
// three figures by database and user.

import { useRef } from 'preact/hooks';
import * as ask from '../api/asks.ts';
import type { Series } from '../api/generated.ts';
import { Chart } from '../charts/chart.tsx';
import { colorAt } from '../charts/colors.ts';
import { type Columns, covered } from '../charts/gaps.ts';
import { findSource, type Page, refOf, sourceHref, statementHref, useReadings, useSources } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { stepFor } from '../state/time.ts';
import { count, milliseconds, percent } from '../state/units.ts';
import { setRange } from '../state/url.ts';
import { Copy, chartData, Panel } from '../ui/panel.tsx';
import { Sql } from '../ui/sql.tsx';
import { format } from '../ui/sqltext.ts';
import { Empty } from '../ui/states.tsx';
import { type Column, Table, tableData } from '../ui/table.tsx';
import { LineChart } from './linechart.tsx';

export function StatementPage({ page, source: name, id }: { page: Page; source?: string; id: string }) {
  return name ? <OfSource page={page} name={name} id={id} /> : <OverFleet page={page} id={id} />;
}

// The same statement on every source that runs it.
function OverFleet({ page, id }: { page: Page; id: string }) {
  const question = {
    metric: 'statements',
    filter: [`queryid=${id}`],
    groupBy: ['source'],
    step: stepFor(page.range, 60, 60),
    limit: 1000,
  };
  const timeAsk = ask.series(page.range, { ...question, column: 'total_exec_time_us' });
  const callsAsk = ask.series(page.range, { ...question, column: 'calls' });
  const time = useAsk(timeAsk, page.view.now);
  const calls = useAsk(callsAsk, page.view.now);
  const rows = sums([time.data, calls.data], (series) => series.source_id);
  const all = useSources().data?.sources ?? [];
  const sourceOf = (row: SumRow) => all.find((source) => source.id === row.name);
  const columns: Column<SumRow>[] = [
    {
      key: 'source',
      title: 'Source',
      class: 'grow',
      value: (row) => sourceOf(row)?.name ?? row.name,
      cell: (row) => {
        const source = sourceOf(row);
        return <a href={statementHref(source ? refOf(source, all) : row.name, id)}>{source?.name ?? row.name}</a>;
      },
    },
    ...timeColumns(0, 1),
  ];
  return (
    <>
      <div class="head">
        <h1>Statement {id}</h1>
      </div>
      <Panel
        title="By source"
        asks={[timeAsk, callsAsk]}
        data={() => tableData(columns, rows)}
        error={time.error}
        loading={time.loading}
        skeleton={time.data ? undefined : 200}
      >
        {rows.length > 0 ? (
          <Table caption="By source" columns={columns} rows={rows} rowKey={(row) => row.name} sort="-time" />
        ) : (
          <Empty title="This statement did not run in the range." />
        )}
      </Panel>
    </>
  );
}

function OfSource({ page, name, id }: { page: Page; name: string; id: string }) {
  const { view, range, zone } = page;
  const readings = useReadings(page, name);
  const sources = useSources();
  const source = findSource(name, sources.data?.sources ?? []);
  const step = readings.step(120, 'statements');
  const timelineAsk = step ? ask.timeline(range, { id, source: [name], step }) : undefined;
  const timeline = useAsk(timelineAsk, view.now);
  const by = {
    metric: 'statements',
    source: [name],
    filter: [`queryid=${id}`],
    groupBy: ['datname', 'username'],
    ...(step ? { step } : {}),
    limit: 200,
  };
  const timeAsk = step ? ask.series(range, { ...by, column: 'total_exec_time_us' }) : undefined;
  const callsAsk = step ? ask.series(range, { ...by, column: 'calls' }) : undefined;
  const rowsAsk = step ? ask.series(range, { ...by, column: 'rows' }) : undefined;
  const time = useAsk(timeAsk, view.now);
  const calls = useAsk(callsAsk, view.now);
  const rows = useAsk(rowsAsk, view.now);

  const points = timeline.data?.data ?? [];
  const columns: Columns = {
    x: points.map((point) => Date.parse(point.time ?? '') / 1000),
    values: [],
    coverage: points.map((point) => {
      const start = Math.max(Date.parse(point.time ?? ''), range.start);
      const end = Math.min(Date.parse(point.time ?? '') + (step ?? 60) * 1000, range.end);
      return end > start ? Math.min(1, point.covered_ms / (end - start)) : 0;
    }),
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
  const parts = sums(
    [time.data, calls.data, rows.data],
    (series) => `${series.labels.datname ?? ''}\u0000${series.labels.username ?? ''}`,
  );
  const partColumns: Column<SumRow>[] = [
    { key: 'database', title: 'Database', class: 'grow', value: (row) => row.name.split('\u0000')[0] || 'dropped' },
    { key: 'user', title: 'User', value: (row) => row.name.split('\u0000')[1] ?? '' },
    ...timeColumns(0, 1),
    {
      key: 'rows',
      title: 'Rows',
      numeric: true,
      value: (row) => row.sums[2] ?? 0,
      cell: (row) => count(row.sums[2] ?? 0),
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
        {charts.map((chart, i) => (
          <TimelineChart
            key={chart.title}
            {...chart}
            color={i}
            page={page}
            columns={columns}
            ask={timelineAsk}
            ready={timeline.data !== undefined}
          />
        ))}
        <LineChart
          page={page}
          title="WAL written"
          unit="bytes/s"
          sync="statement"
          step={step}
          parts={[
            {
              label: 'WAL',
              question: {
                metric: 'statements',
                column: 'wal_bytes',
                source: [name],
                filter: [`queryid=${id}`],
                groupBy: ['none'],
                rate: true,
              },
            },
          ]}
        />
        <LineChart
          page={page}
          title="Time reading blocks"
          unit="ms/s"
          scale={0.001}
          sync="statement"
          step={step}
          parts={[
            {
              label: 'reading',
              question: {
                metric: 'statements',
                column: 'shared_blk_read_time_us',
                source: [name],
                filter: [`queryid=${id}`],
                groupBy: ['none'],
                rate: true,
              },
            },
          ]}
        />
      </div>
      <Panel
        title="By database and user"
        asks={[timeAsk, callsAsk, rowsAsk]}
        data={() => tableData(partColumns, parts)}
        error={time.error ?? calls.error ?? rows.error}
        loading={time.loading}
        skeleton={time.data ? undefined : 96}
      >
        {parts.length > 0 ? (
          <Table
            caption="By database and user"
            columns={partColumns}
            rows={parts}
            rowKey={(row) => row.name}
            sort="-time"
          />
        ) : (
          <Empty title={`It did not run in this range${zone === 'utc' ? ' (UTC)' : ''}.`} />
        )}
      </Panel>
    </>
  );
}

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
  color: number;
  page: Page;
  columns: Columns;
  ask: ask.Ask<unknown> | undefined;
  ready: boolean;
}

function TimelineChart({ title, unit, lines, page, columns, ask: question, ready }: TimelineChartProps) {
  const canvas = useRef<HTMLCanvasElement | null>(null);
  const drawn = lines.map((line, i) => ({ ...line, color: colorAt(i) }));
  return (
    <Panel
      title={title}
      asks={[question]}
      data={() => chartData(columns, lines, unit, page.range)}
      canvas={canvas}
      skeleton={ready ? undefined : 180}
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
        onZoom={setRange}
        onCanvas={(made) => {
          canvas.current = made;
        }}
      />
    </Panel>
  );
}

interface SumRow {
  name: string;
  sums: number[];
}

// Sums of whole series, side by side by a name.
function sums(answers: readonly (readonly Series[] | undefined)[], nameOf: (series: Series) => string): SumRow[] {
  const rows = new Map<string, number[]>();
  answers.forEach((answer, i) => {
    for (const series of answer ?? []) {
      const row = rows.get(nameOf(series)) ?? answers.map(() => 0);
      row[i] = (row[i] ?? 0) + series.points.reduce((sum, point) => sum + (point.value ?? 0), 0);
      rows.set(nameOf(series), row);
    }
  });
  return [...rows].map(([name, values]) => ({ name, sums: values }));
}

function timeColumns(time: number, calls: number): Column<SumRow>[] {
  const ms = (row: SumRow) => (row.sums[time] ?? 0) / 1000;
  const many = (row: SumRow) => row.sums[calls] ?? 0;
  return [
    { key: 'time', title: 'Time', numeric: true, value: ms, cell: (row) => milliseconds(ms(row)) },
    { key: 'calls', title: 'Calls', numeric: true, value: many, cell: (row) => count(many(row)) },
    {
      key: 'mean',
      title: 'Mean',
      numeric: true,
      value: (row) => (many(row) > 0 ? ms(row) / many(row) : null),
      cell: (row) => (many(row) > 0 ? milliseconds(ms(row) / many(row)) : '–'),
    },
  ];
}
