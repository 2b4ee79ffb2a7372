// Tables and indexes: size, growth, use, vacuum. Figures come from series over the range, one question a column; sizes from
// a day at least, because they are read every half hour.

import { useState } from 'preact/hooks';
import * as ask from '../api/asks.ts';
import type { Series } from '../api/generated.ts';
import type { Page } from '../state/page.ts';
import { type Answer, useAsk } from '../state/query.ts';
import { dateTime, duration, type Range, stepFor } from '../state/time.ts';
import { bytes, count, number, percent } from '../state/units.ts';
import { change } from '../state/url.ts';
import { Share } from '../ui/marks.tsx';
import { Panel } from '../ui/panel.tsx';
import { Empty } from '../ui/states.tsx';
import { type Column, Table, tableData } from '../ui/table.tsx';
import type { TabProps } from './source.tsx';

const day = 86_400_000;
const limit = 1000;

// At least the last day of the range, in as few points as can be.
const aDay = (range: Range): Range => ({ start: Math.min(range.start, range.end - day), end: range.end });

type Figures = Map<
  string,
  { first: number | undefined; last: number | undefined; sum: number; labels: Record<string, string> }
>;

function figuresOf(answer: Answer<Series[]>): Figures {
  const out: Figures = new Map();
  for (const series of answer.data ?? []) {
    const known = series.points.filter((point) => point.value !== undefined).map((point) => point.value as number);
    out.set(keyOf(series.labels), {
      first: known[0],
      last: known.at(-1),
      sum: known.reduce((sum, value) => sum + value, 0),
      labels: series.labels,
    });
  }
  return out;
}

const keyOf = (labels: Record<string, string>) =>
  [labels.datname, labels.schemaname, labels.relname, labels.indexrelname].join('\u0000');
const nameOf = (labels: Record<string, string>, name: string | undefined) =>
  (labels.schemaname === 'public' ? name : `${labels.schemaname}.${name}`) ?? '';

function NameFilter({ page, label }: { page: Page; label: string }) {
  const [text, setText] = useState(page.view.query.get('name') ?? '');
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        change({ name: text }, 'replace');
      }}
    >
      <input
        type="search"
        aria-label={label}
        placeholder="part of the name, Enter"
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
      />
    </form>
  );
}

function nameFilter(page: Page): string[] {
  const name = page.view.query.get('name') ?? '';
  return name ? [`relname~.*${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}.*`] : [];
}

interface TableRow {
  key: string;
  labels: Record<string, string>;
  size: number | undefined;
  growth: number | undefined;
  live: number | undefined;
  dead: number | undefined;
  threshold: number | undefined;
  sequential: number | undefined;
  indexed: number | undefined;
  vacuumed: number | undefined;
  analyzed: number | undefined;
}

export function TablesTab({ page, name }: TabProps) {
  const { view, range, zone } = page;
  const filter = nameFilter(page);
  const step = stepFor(range, 3600, 4);
  const sizes = aDay(range);
  const stats = (column: string) =>
    ask.series(range, { metric: 'table_stats', column, source: [name], filter, step, limit });
  const readings = (column: string) =>
    ask.series(range, { metric: 'table_stats', column, source: [name], filter, aggregate: 'last', step, limit });
  const asks = {
    size: ask.series(sizes, {
      metric: 'table_size',
      column: 'total_bytes',
      source: [name],
      filter,
      aggregate: 'last',
      step: stepFor(sizes, 3600, 24),
      limit,
    }),
    live: readings('n_live_tup'),
    dead: readings('n_dead_tup'),
    sequential: stats('seq_scan'),
    indexed: stats('idx_scan'),
    state: ask.stateOf(range, {
      metric: 'table_stats',
      source: [name],
      filter,
      column: ['last_vacuum', 'last_autovacuum', 'last_analyze', 'last_autoanalyze'],
      limit: 10_000,
    }),
    settings: ask.stateOf(range, {
      metric: 'settings',
      source: [name],
      filter: ['setting_name~^autovacuum_vacuum_(threshold|scale_factor)$'],
      column: ['setting_value'],
    }),
  };
  const size = useAsk(asks.size, view.now);
  const live = useAsk(asks.live, view.now);
  const dead = useAsk(asks.dead, view.now);
  const sequential = useAsk(asks.sequential, view.now);
  const indexed = useAsk(asks.indexed, view.now);
  const state = useAsk(asks.state, view.now);
  const settings = useAsk(asks.settings, view.now);
  const setting = (wanted: string) =>
    Number(settings.data?.rows.find((row) => row.labels.setting_name === wanted)?.values.setting_value ?? Number.NaN);
  const threshold = setting('autovacuum_vacuum_threshold');
  const scale = setting('autovacuum_vacuum_scale_factor');

  const figures = {
    size: figuresOf(size),
    live: figuresOf(live),
    dead: figuresOf(dead),
    sequential: figuresOf(sequential),
    indexed: figuresOf(indexed),
  };
  const states = new Map((state.data?.rows ?? []).map((row) => [keyOf(row.labels), row]));
  const all = new Map<string, Record<string, string>>();
  for (const map of Object.values(figures)) for (const [key, one] of map) all.set(key, one.labels);
  for (const row of state.data?.rows ?? []) all.set(keyOf(row.labels), row.labels);
  const latest = (...times: (string | undefined)[]) => {
    const known = times
      .filter(Boolean)
      .map((time) => Date.parse((time as string).replace(' ', 'T').replace(/\+00$/, 'Z')));
    return known.length > 0 ? Math.max(...known) : undefined;
  };
  const rows: TableRow[] = [...all].map(([key, labels]) => {
    const bytesOf = figures.size.get(key);
    const values = states.get(key)?.values ?? {};
    const alive = figures.live.get(key)?.last;
    return {
      key,
      labels,
      size: bytesOf?.last,
      growth: bytesOf?.first === undefined || bytesOf.last === undefined ? undefined : bytesOf.last - bytesOf.first,
      live: alive,
      dead: figures.dead.get(key)?.last,
      threshold: alive !== undefined && !Number.isNaN(threshold + scale) ? threshold + scale * alive : undefined,
      sequential: figures.sequential.get(key)?.sum,
      indexed: figures.indexed.get(key)?.sum,
      vacuumed: latest(values.last_vacuum, values.last_autovacuum),
      analyzed: latest(values.last_analyze, values.last_autoanalyze),
    };
  });
  const columns: Column<TableRow>[] = [
    {
      key: 'table',
      title: 'Table',
      class: 'grow',
      value: (row) => nameOf(row.labels, row.labels.relname),
      cell: (row) => <span class="strong">{nameOf(row.labels, row.labels.relname)}</span>,
    },
    { key: 'database', title: 'Database', value: (row) => row.labels.datname ?? '' },
    {
      key: 'size',
      title: 'Size',
      numeric: true,
      value: (row) => row.size ?? null,
      cell: (row) => known(row.size, bytes),
    },
    {
      key: 'growth',
      title: 'Growth',
      numeric: true,
      hint: `Between the first and the last reading of ${duration(sizes.end - sizes.start)}`,
      value: (row) => row.growth ?? null,
      cell: (row) =>
        known(row.growth, (value) => (value === 0 ? '0' : `${value > 0 ? '+' : '−'}${bytes(Math.abs(value))}`)),
    },
    {
      key: 'live',
      title: 'Rows',
      numeric: true,
      wide: true,
      value: (row) => row.live ?? null,
      cell: (row) => known(row.live, count),
    },
    {
      key: 'dead',
      title: 'Dead rows',
      numeric: true,
      hint: 'Against the number at which the server vacuums by its own settings',
      value: (row) => (row.dead === undefined ? null : row.threshold ? row.dead / row.threshold : row.dead),
      cell: (row) =>
        row.dead === undefined ? (
          'unknown'
        ) : row.threshold === undefined ? (
          count(row.dead)
        ) : (
          <Share share={row.dead / row.threshold} text={`${count(row.dead)} of ${count(row.threshold)}`} />
        ),
    },
    {
      key: 'vacuumed',
      title: 'Vacuumed',
      numeric: true,
      wide: true,
      value: (row) => row.vacuumed ?? null,
      cell: (row) => ago(row.vacuumed, view.now, zone),
    },
    {
      key: 'analyzed',
      title: 'Analyzed',
      numeric: true,
      wide: true,
      value: (row) => row.analyzed ?? null,
      cell: (row) => ago(row.analyzed, view.now, zone),
    },
    {
      key: 'sequential',
      title: 'Seq. scans',
      numeric: true,
      wide: true,
      value: (row) => row.sequential ?? null,
      cell: (row) => known(row.sequential, count),
    },
    {
      key: 'indexed',
      title: 'Index scans',
      numeric: true,
      wide: true,
      value: (row) => row.indexed ?? null,
      cell: (row) => known(row.indexed, count),
    },
  ];
  const ready = state.data !== undefined || state.error !== undefined;
  return (
    <Panel
      title="Tables"
      note={`${rows.length} tables${Number.isNaN(threshold) ? '' : `; vacuum is due at ${number(threshold)} + ${percent(scale)} of the rows, settings of a table alone are not collected`}`}
      tools={<NameFilter page={page} label="Filter tables" />}
      asks={Object.values(asks)}
      data={() => tableData(columns, rows)}
      error={size.error ?? dead.error ?? state.error}
      loading={[size, live, dead, sequential, indexed, state].some((one) => one.loading)}
      skeleton={ready ? undefined : 320}
    >
      {rows.length > 0 ? (
        <Table caption="Tables" columns={columns} rows={rows} rowKey={(row) => row.key} sort="-size" />
      ) : (
        <Empty title="No tables are known in this range.">
          Tables are read in the databases of POSTGRES_DATABASES; <code>*</code> means all of them.
        </Empty>
      )}
    </Panel>
  );
}

interface IndexRow {
  key: string;
  labels: Record<string, string>;
  size: number | undefined;
  scans: number | undefined;
  read: number | undefined;
  kind: string;
  valid: boolean;
  unused: boolean;
}

export function IndexesTab({ page, name }: TabProps) {
  const { view, range } = page;
  const filter = nameFilter(page);
  const sizes = aDay(range);
  const step = stepFor(range, 3600, 4);
  const asks = {
    size: ask.series(sizes, {
      metric: 'index_size',
      column: 'size_bytes',
      source: [name],
      filter,
      aggregate: 'last',
      step: stepFor(sizes, 3600, 24),
      limit,
    }),
    scans: ask.series(range, { metric: 'index_stats', column: 'idx_scan', source: [name], filter, step, limit }),
    read: ask.series(range, { metric: 'index_stats', column: 'idx_blks_read', source: [name], filter, step, limit }),
    state: ask.stateOf(range, {
      metric: 'index_stats',
      source: [name],
      filter,
      column: ['is_unique', 'is_primary', 'is_valid', 'is_constraint'],
      limit: 10_000,
    }),
  };
  const size = useAsk(asks.size, view.now);
  const scans = useAsk(asks.scans, view.now);
  const read = useAsk(asks.read, view.now);
  const state = useAsk(asks.state, view.now);
  const figures = { size: figuresOf(size), scans: figuresOf(scans), read: figuresOf(read) };
  const rows: IndexRow[] = (state.data?.rows ?? []).map((row) => {
    const key = keyOf(row.labels);
    const scanned = figures.scans.get(key)?.sum;
    const needed =
      row.values.is_constraint === 'true' || row.values.is_primary === 'true' || row.values.is_unique === 'true';
    return {
      key,
      labels: row.labels,
      size: figures.size.get(key)?.last,
      scans: scanned,
      read: figures.read.get(key)?.sum,
      kind:
        row.values.is_primary === 'true'
          ? 'primary key'
          : row.values.is_constraint === 'true'
            ? 'constraint'
            : row.values.is_unique === 'true'
              ? 'unique'
              : '',
      valid: row.values.is_valid !== 'false',
      unused: scanned === 0 && !needed,
    };
  });
  const columns: Column<IndexRow>[] = [
    {
      key: 'index',
      title: 'Index',
      class: 'grow',
      value: (row) => nameOf(row.labels, row.labels.indexrelname),
      cell: (row) => <span class="strong">{nameOf(row.labels, row.labels.indexrelname)}</span>,
    },
    { key: 'table', title: 'Table', value: (row) => row.labels.relname ?? '' },
    { key: 'database', title: 'Database', wide: true, value: (row) => row.labels.datname ?? '' },
    {
      key: 'size',
      title: 'Size',
      numeric: true,
      value: (row) => row.size ?? null,
      cell: (row) => known(row.size, bytes),
    },
    {
      key: 'scans',
      title: 'Scans',
      numeric: true,
      hint: 'In the range',
      value: (row) => row.scans ?? null,
      cell: (row) => known(row.scans, count),
    },
    {
      key: 'read',
      title: 'Blocks read',
      numeric: true,
      wide: true,
      value: (row) => row.read ?? null,
      cell: (row) => known(row.read, count),
    },
    { key: 'kind', title: 'Is', value: (row) => row.kind },
    {
      key: 'remark',
      title: 'Remark',
      value: (row) => (!row.valid ? 'invalid' : row.unused ? 'no scan in the range' : ''),
      cell: (row) =>
        !row.valid ? (
          <span class="bad-text">invalid: REINDEX or DROP it</span>
        ) : row.unused ? (
          <span class="muted">no scan in the range</span>
        ) : (
          ''
        ),
    },
  ];
  const unused = rows.filter((row) => row.unused);
  const waste = unused.reduce((sum, row) => sum + (row.size ?? 0), 0);
  return (
    <Panel
      title="Indexes"
      note={
        state.data &&
        `${rows.length} indexes; ${unused.length} without a scan in ${duration(range.end - range.start)}, ${bytes(waste)}. Ask for 30 days before you drop one, and look at the standbys.`
      }
      tools={<NameFilter page={page} label="Filter by table" />}
      asks={Object.values(asks)}
      data={() => tableData(columns, rows)}
      error={state.error ?? scans.error}
      loading={[size, scans, read, state].some((one) => one.loading)}
      skeleton={state.data || state.error ? undefined : 320}
    >
      {rows.length > 0 ? (
        <Table caption="Indexes" columns={columns} rows={rows} rowKey={(row) => row.key} sort="-size" />
      ) : (
        <Empty title="No indexes are known in this range." />
      )}
    </Panel>
  );
}

function known(value: number | undefined, write: (value: number) => string) {
  return value === undefined ? <span class="muted">unknown</span> : write(value);
}

function ago(at: number | undefined, now: number, zone: Page['zone']) {
  return at === undefined ? (
    <span class="muted">never seen</span>
  ) : (
    <span title={dateTime(at, zone)}>{duration(Math.max(now - at, 0))} ago</span>
  );
}
