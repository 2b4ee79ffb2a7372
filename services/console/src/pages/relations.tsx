// Tables, sequences and indexes: size, growth, use, vacuum, definitions. Asks: the rows of each metric as of the end of the
// range, counters added up over it; sizes once more as of a day before.

import { useState } from 'preact/hooks';
import * as ask from '../api/asks.ts';
import type { MetricRow } from '../api/generated.ts';
import type { Page } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { byKey, figure, holds, keyOf, label, newest, qualified, quoteIdent, text } from '../state/rows.ts';
import { duration, type Range } from '../state/time.ts';
import { bytes, count, percent, withUnit } from '../state/units.ts';
import { change } from '../state/url.ts';
import { Ago, known, labelColumn, nameColumn, percentColumn, Remedy, textColumn, Unknown } from '../ui/cells.tsx';
import { Choice } from '../ui/choice.tsx';
import { Share } from '../ui/marks.tsx';
import { cutText } from '../ui/sql.tsx';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
import type { TabProps } from './source.tsx';

const day = 86_400_000;
const limit = 10_000;

// Sizes are read every half hour: growth is that of a day at least.
const growthOver = (range: Range): number => Math.max(range.end - range.start, day);

function NameFilter({ page, label: said }: { page: Page; label: string }) {
  const [typed, setTyped] = useState(page.view.query.get('name') ?? '');
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        change({ name: typed }, 'replace');
      }}
    >
      <input
        type="search"
        aria-label={said}
        placeholder="part of the name, Enter"
        value={typed}
        onInput={(event) => setTyped(event.currentTarget.value)}
      />
    </form>
  );
}

function nameFilter(page: Page): string[] {
  const name = page.view.query.get('name') ?? '';
  return name ? [`relname~${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}`] : [];
}

const growthText = (value: number) => (value === 0 ? '0' : `${value > 0 ? '+' : '−'}${bytes(Math.abs(value))}`);

interface TableRow {
  row: MetricRow;
  key: string;
  size: number | undefined;
  growth: number | undefined;
  threshold: number | undefined;
}

export function TablesTab({ page, name }: TabProps) {
  const { view, range, zone } = page;
  const filter = nameFilter(page);
  const source = [name];
  const span = growthOver(range);
  const statsAsk = ask.rows(range, {
    metric: 'table_stats',
    source,
    filter,
    limit,
    column: [
      'seq_scan',
      'idx_scan',
      'n_live_tup',
      'n_dead_tup',
      'last_vacuum',
      'last_autovacuum',
      'last_analyze',
      'last_autoanalyze',
    ],
  });
  const size = { metric: 'table_size', source, filter, limit, column: ['total_bytes'] };
  const sizesAsk = ask.rows(range, size);
  const formerAsk = ask.rows({ start: range.end - span - 1000, end: range.end - span }, size);
  const limitsAsk = ask.rows(range, { metric: 'vacuum_state', source, filter, limit, column: ['vacuum_threshold'] });
  const stats = useAsk(statsAsk, view.now);
  const sizes = useAsk(sizesAsk, view.now);
  const former = useAsk(formerAsk, view.now);
  const limits = useAsk(limitsAsk, view.now);
  const sizeOf = byKey(sizes.data?.rows);
  const formerOf = byKey(former.data?.rows);
  const limitOf = byKey(limits.data?.rows);
  const of = (map: Map<string, MetricRow>, key: string, column: string) => map.get(key)?.numbers[column];
  const rows: TableRow[] = (stats.data?.rows ?? []).map((row) => {
    const key = keyOf(row.labels);
    const now = of(sizeOf, key, 'total_bytes');
    const then = of(formerOf, key, 'total_bytes');
    return {
      row,
      key,
      size: now,
      growth: now === undefined || then === undefined ? undefined : now - then,
      threshold: of(limitOf, key, 'vacuum_threshold'),
    };
  });
  const columns: Column<TableRow>[] = [
    nameColumn('table', 'Table', ({ row }) => qualified(row.labels, row.labels.relname)),
    { key: 'database', title: 'Database', value: ({ row }) => label(row, 'datname') },
    {
      key: 'size',
      title: 'Size',
      numeric: true,
      hint: 'With indexes and large values',
      value: (one) => one.size ?? null,
      cell: (one) => known(one.size, bytes),
    },
    {
      key: 'growth',
      title: 'Growth',
      numeric: true,
      hint: `In ${duration(span)}`,
      value: (one) => one.growth ?? null,
      cell: (one) => known(one.growth, growthText),
    },
    numberOf('n_live_tup', 'Rows', true),
    {
      key: 'dead',
      title: 'Dead rows',
      numeric: true,
      hint: 'Against the number above which autovacuum vacuums the table',
      value: ({ row, threshold }) => {
        const dead = figure(row, 'n_dead_tup');
        return dead === undefined ? null : threshold ? dead / threshold : dead;
      },
      cell: ({ row, threshold }) => {
        const dead = figure(row, 'n_dead_tup');
        if (dead === undefined) return <Unknown />;
        if (threshold === undefined) return count(dead);
        return <Share share={threshold > 0 ? dead / threshold : 1} text={`${count(dead)} of ${count(threshold)}`} />;
      },
    },
    {
      key: 'vacuumed',
      title: 'Vacuumed',
      numeric: true,
      wide: true,
      value: ({ row }) => newest(row.texts.last_vacuum, row.texts.last_autovacuum) ?? null,
      cell: ({ row }) => (
        <Ago at={newest(row.texts.last_vacuum, row.texts.last_autovacuum)} now={view.now} zone={zone} />
      ),
    },
    {
      key: 'analyzed',
      title: 'Analyzed',
      numeric: true,
      wide: true,
      value: ({ row }) => newest(row.texts.last_analyze, row.texts.last_autoanalyze) ?? null,
      cell: ({ row }) => (
        <Ago at={newest(row.texts.last_analyze, row.texts.last_autoanalyze)} now={view.now} zone={zone} />
      ),
    },
    numberOf('seq_scan', 'Seq. scans', true),
    numberOf('idx_scan', 'Index scans', true),
  ];
  const sequencesAsk = ask.rows(range, { metric: 'sequences', source, filter, sort: '-used_percent', limit: 200 });
  const sequences = useAsk(sequencesAsk, view.now);
  return (
    <>
      <TablePanel
        title="Tables"
        note={stats.data && `${rows.length} tables${cut(stats.data)}, ${percent(stats.data.completeness)} covered`}
        tools={<NameFilter page={page} label="Filter tables" />}
        asks={[statsAsk, sizesAsk, formerAsk, limitsAsk]}
        answers={[stats, sizes, former, limits]}
        columns={columns}
        rows={rows}
        rowKey={(one) => one.key}
        sort="-size"
        skeleton={320}
        empty={
          <Empty title="No tables are known in this range.">
            Tables are read in the databases of POSTGRES_DATABASES; <code>*</code> means all of them.
          </Empty>
        }
      />
      <TablePanel
        title="Sequences"
        note="nearest to their end"
        asks={[sequencesAsk]}
        answers={[sequences]}
        columns={sequenceColumns}
        rows={sequences.data?.rows ?? []}
        rowKey={(row) => keyOf(row.labels)}
        sort="-used_percent"
        most={20}
        empty={<Empty title="No sequences are known in this range." />}
      />
    </>
  );
}

const cut = (answer: { rows: readonly unknown[]; rows_found: number }) =>
  answer.rows_found > answer.rows.length ? ` of ${answer.rows_found}` : '';

function numberOf(key: string, title: string, wide = false): Column<{ row: MetricRow }> {
  return {
    key,
    title,
    numeric: true,
    wide,
    value: ({ row }) => figure(row, key) ?? null,
    cell: ({ row }) => known(figure(row, key), count),
  };
}

const sequenceColumns: Column<MetricRow>[] = [
  {
    key: 'sequence',
    title: 'Sequence',
    class: 'grow',
    value: (row) => qualified(row.labels, label(row, 'relname')),
    cell: (row) => <span class="strong">{qualified(row.labels, label(row, 'relname'))}</span>,
  },
  labelColumn('datname', 'Database'),
  {
    key: 'fills',
    title: 'Fills',
    wide: true,
    value: (row) => (row.texts.owner_table ? `${text(row, 'owner_table')}.${text(row, 'owner_column')}` : ''),
  },
  textColumn('owner_type', 'Type', {
    wide: true,
    hint: 'Of that column: its end is the sequence’s where it is smaller',
  }),
  percentColumn('used_percent', 'Used', { warnFrom: 80 }),
  {
    key: 'values_left',
    title: 'Left',
    numeric: true,
    value: (row) => figure(row, 'values_left') ?? null,
    cell: (row) =>
      holds(row, 'is_cycling') ? 'begins anew' : known(figure(row, 'values_left'), (left) => withUnit(left, '1')),
  },
];

interface IndexRow {
  row: MetricRow;
  // Of index_definitions.
  made: MetricRow | undefined;
  key: string;
  size: number | undefined;
  kind: string;
  remark: string;
}

// The API gives the beginning of long ones.
const definitionOf = (made: MetricRow): string =>
  cutText(made.texts.definition ?? '', made.truncated.includes('definition'));

// What enforces something is needed without a scan.
function kindOf(row: MetricRow, made: MetricRow | undefined): string {
  if (holds(row, 'is_primary')) return 'primary key';
  if (holds(row, 'is_constraint')) return 'constraint';
  if (holds(row, 'is_unique')) return 'unique';
  return made && holds(made, 'is_replica_identity') ? 'replica identity' : '';
}

function remarkOf(row: MetricRow, made: MetricRow | undefined, kind: string): string {
  if (row.texts.is_valid === 'false' || made?.texts.is_valid === 'false') return 'invalid';
  if (made?.texts.duplicate_of) return `same as ${made.texts.duplicate_of}`;
  if (kind === '' && figure(row, 'idx_scan') === 0) return 'no scan in the range';
  if (kind === '' && made?.texts.prefix_of) return `begins ${made.texts.prefix_of}`;
  return '';
}

const remarks = [
  { key: '', title: 'all' },
  { key: 'unused', title: 'unused', fits: (one: IndexRow) => one.kind === '' && figure(one.row, 'idx_scan') === 0 },
  {
    key: 'double',
    title: 'duplicate',
    fits: (one: IndexRow) => Boolean(one.made?.texts.duplicate_of || one.made?.texts.prefix_of),
  },
  { key: 'invalid', title: 'invalid', fits: (one: IndexRow) => one.remark === 'invalid' },
] as const;

export function IndexesTab({ page, name }: TabProps) {
  const { view, range } = page;
  const filter = nameFilter(page);
  const source = [name];
  const chosen = remarks.find((one) => one.key === view.query.get('only')) ?? remarks[0];
  const statsAsk = ask.rows(range, {
    metric: 'index_stats',
    source,
    filter,
    limit,
    column: ['idx_scan', 'idx_blks_read', 'last_idx_scan', 'is_unique', 'is_primary', 'is_valid', 'is_constraint'],
  });
  const sizesAsk = ask.rows(range, { metric: 'index_size', source, filter, limit, column: ['size_bytes'] });
  const madeAsk = ask.rows(range, {
    metric: 'index_definitions',
    source,
    filter,
    limit,
    column: ['definition', 'access_method', 'is_valid', 'is_replica_identity', 'duplicate_of', 'prefix_of'],
  });
  const stats = useAsk(statsAsk, view.now);
  const sizes = useAsk(sizesAsk, view.now);
  const definitions = useAsk(madeAsk, view.now);
  const sizeOf = byKey(sizes.data?.rows);
  const madeOf = byKey(definitions.data?.rows);
  const all: IndexRow[] = (stats.data?.rows ?? []).map((row) => {
    const key = keyOf(row.labels);
    const made = madeOf.get(key);
    const kind = kindOf(row, made);
    return { row, made, key, kind, size: sizeOf.get(key)?.numbers.size_bytes, remark: remarkOf(row, made, kind) };
  });
  const rows = 'fits' in chosen ? all.filter(chosen.fits) : all;
  const columns: Column<IndexRow>[] = [
    {
      key: 'index',
      title: 'Index',
      class: 'grow',
      value: ({ row }) => qualified(row.labels, label(row, 'indexrelname')),
      cell: ({ row, made }) => (
        <div>
          <span class="strong">{qualified(row.labels, label(row, 'indexrelname'))}</span>
          {made?.texts.definition && (
            <div class="definition mono" title={definitionOf(made)}>
              {definitionOf(made).replace(/^CREATE (UNIQUE )?INDEX \S+ ON (ONLY )?/, '')}
            </div>
          )}
        </div>
      ),
    },
    { key: 'table', title: 'Table', value: ({ row }) => label(row, 'relname') },
    { key: 'database', title: 'Database', wide: true, value: ({ row }) => label(row, 'datname') },
    {
      key: 'size',
      title: 'Size',
      numeric: true,
      value: (one) => one.size ?? null,
      cell: (one) => known(one.size, bytes),
    },
    { ...numberOf('idx_scan', 'Scans'), hint: 'In the range' },
    numberOf('idx_blks_read', 'Blocks read', true),
    { key: 'kind', title: 'Is', value: (one) => one.kind },
    {
      key: 'remark',
      title: 'Remark',
      value: (one) => one.remark,
      cell: (one) => <span class={one.remark === 'invalid' ? 'bad-text' : 'warn-text'}>{one.remark}</span>,
    },
    {
      key: 'command',
      title: 'What to do',
      wide: true,
      value: commandOf,
      cell: (one) => {
        const command = commandOf(one);
        return command ? <Remedy>{command}</Remedy> : '';
      },
    },
  ];
  const unused = all.filter(remarks[1].fits);
  const waste = unused.reduce((sum, one) => sum + (one.size ?? 0), 0);
  return (
    <TablePanel
      title="Indexes"
      note={
        stats.data &&
        `${all.length} indexes${cut(stats.data)}; ${unused.length} without a scan in ${duration(range.end - range.start)}, ${bytes(waste)}. Ask for 30 days before you drop one, and look at the standbys.`
      }
      tools={
        <>
          <Choice label="show" value={chosen.key} options={remarks} onChoose={(only) => change({ only }, 'replace')} />
          <NameFilter page={page} label="Filter by table" />
        </>
      }
      asks={[statsAsk, sizesAsk, madeAsk]}
      answers={[stats, sizes, definitions]}
      columns={columns}
      rows={rows}
      rowKey={(one) => one.key}
      sort="-size"
      tableKey={chosen.key}
      skeleton={320}
      empty={
        all.length > 0 ? (
          <Empty title={`No index is ${chosen.title}.`} />
        ) : (
          <Empty title="No indexes are known in this range." />
        )
      }
    />
  );
}

function commandOf(one: IndexRow): string {
  if (!one.remark || one.remark.startsWith('begins')) return '';
  const index = `${quoteIdent(label(one.row, 'schemaname'))}.${quoteIdent(label(one.row, 'indexrelname'))}`;
  return one.remark === 'invalid' ? `REINDEX INDEX CONCURRENTLY ${index}` : `DROP INDEX CONCURRENTLY ${index}`;
}
