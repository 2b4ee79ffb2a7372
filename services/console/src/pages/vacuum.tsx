// What keeps dead rows, what is due and what runs: holders of old snapshots by name, tables against the limits that the
// server computes, vacuums at work, room that a rewrite would give back, distance from wraparound. Asks: the rows of each.

import type { ComponentChildren } from 'preact';
import * as ask from '../api/asks.ts';
import type { MetricRow } from '../api/generated.ts';
import { useAsk } from '../state/query.ts';
import { figure, holds, label, newest, qualified, quoteIdent, quoteLiteral, text } from '../state/rows.ts';
import { dateTime, duration } from '../state/time.ts';
import { count, milliseconds, percent } from '../state/units.ts';
import {
  figureColumn,
  labelColumn,
  nameColumn,
  percentColumn,
  Remedy,
  statementIdColumn,
  textColumn,
  Unknown,
} from '../ui/cells.tsx';
import { Share } from '../ui/marks.tsx';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
import type { TabProps } from './source.tsx';

// What ends it.
function remedyOf(row: MetricRow): string {
  const holder = label(row, 'holder');
  switch (label(row, 'holder_class')) {
    case 'backend':
      return `SELECT pg_terminate_backend(${holder})`;
    case 'slot':
      return `SELECT pg_drop_replication_slot(${quoteLiteral(holder)})`;
    case 'prepared':
      return `ROLLBACK PREPARED ${quoteLiteral(holder)}`;
    default:
      return 'hot_standby_feedback = off on that standby';
  }
}

// A figure against its limit.
function against(now: number | undefined, limit: number | undefined): ComponentChildren {
  if (now === undefined) return <Unknown />;
  if (limit === undefined) return <span title="There is no limit: it is off">{count(now)}</span>;
  return <Share share={limit > 0 ? now / limit : 1} text={`${count(now)} of ${count(limit)}`} />;
}

const share = (row: MetricRow, now: string, limit: string): number | null => {
  const [a, b] = [figure(row, now), figure(row, limit)];
  return a === undefined || b === undefined || b <= 0 ? null : a / b;
};

// Beyond a limit, whether autovacuum takes care of it or not.
function beyond(row: MetricRow, now: string, limit: string): boolean {
  const [a, b] = [figure(row, now), figure(row, limit)];
  return a !== undefined && b !== undefined && a > b;
}
const wantsVacuum = (row: MetricRow) => beyond(row, 'dead_rows', 'vacuum_threshold');
const wantsVacuumAfterInserts = (row: MetricRow) => beyond(row, 'inserted_rows', 'insert_threshold');
const wantsAnalyze = (row: MetricRow) => beyond(row, 'modified_rows', 'analyze_threshold');

function dueFor(row: MetricRow): string {
  return [
    holds(row, 'is_freeze_due') && 'freeze',
    wantsVacuum(row) && 'vacuum',
    wantsVacuumAfterInserts(row) && 'vacuum after inserts',
    wantsAnalyze(row) && 'analyze',
  ]
    .filter(Boolean)
    .join(', ');
}

export function VacuumTab({ page, name }: TabProps) {
  const { view, range, zone } = page;
  const source = [name];
  const holdersAsk = ask.rows(range, { metric: 'xmin_holders', source, sort: '-xmin_age' });
  const dueAsk = ask.rows(range, { metric: 'vacuum_state', source, sort: '-dead_rows', limit: 1000 });
  const runningAsk = ask.rows(range, { metric: 'progress_vacuum', source });
  const ageAsk = ask.rows(range, { metric: 'wraparound', source, sort: '-xid_age' });
  const bloatAsk = ask.rows(range, { metric: 'bloat_tables', source, sort: '-bloat_bytes', limit: 200 });
  const indexBloatAsk = ask.rows(range, { metric: 'bloat_indexes', source, sort: '-bloat_bytes', limit: 200 });
  const holders = useAsk(holdersAsk, view.now);
  const due = useAsk(dueAsk, view.now);
  const running = useAsk(runningAsk, view.now);
  const age = useAsk(ageAsk, view.now);
  const bloat = useAsk(bloatAsk, view.now);
  const indexBloat = useAsk(indexBloatAsk, view.now);
  const asOf = (answer: typeof holders) => {
    const at = answer.data?.rows[0]?.collected_at;
    return at && `as of ${dateTime(Date.parse(at), zone)}`;
  };

  const holderColumns: Column<MetricRow>[] = [
    {
      key: 'holder',
      title: 'Holder',
      value: (row) => `${label(row, 'holder_class')} ${label(row, 'holder')}`,
      cell: (row) => (
        <span class="strong nowrap">
          {label(row, 'holder_class')} {label(row, 'holder')}
        </span>
      ),
    },
    figureColumn('xmin_age', 'Holds back', 'xacts', {
      hint: 'Transactions begun since the oldest one whose dead rows are kept for it',
    }),
    figureColumn('catalog_xmin_age', 'in catalogs', 'xacts', {
      wide: true,
      cell: (row) => {
        const age = figure(row, 'catalog_xmin_age');
        return age === undefined ? '' : count(age);
      },
    }),
    {
      key: 'held_since',
      title: 'Since',
      value: (row) => text(row, 'held_since'),
      cell: (row) => {
        const at = newest(row.texts.held_since);
        return at === undefined ? '' : <span title={dateTime(at, zone)}>{duration(range.end - at)}</span>;
      },
    },
    textColumn('state', 'State'),
    textColumn('usename', 'User'),
    textColumn('application_name', 'Application', { wide: true }),
    textColumn('datname', 'Database', { wide: true }),
    statementIdColumn(name, { wide: true }),
    {
      key: 'ends_it',
      title: 'What ends it',
      class: 'grow',
      wide: true,
      value: remedyOf,
      cell: (row) => <Remedy>{remedyOf(row)}</Remedy>,
    },
  ];

  const dueColumns: Column<MetricRow>[] = [
    {
      key: 'table',
      title: 'Table',
      class: 'grow',
      value: (row) => qualified(row.labels, label(row, 'relname')),
      cell: (row) => (
        <span class="strong" title={row.texts.toast_of ? `large values of ${row.texts.toast_of}` : ''}>
          {qualified(row.labels, label(row, 'relname'))}
          {row.texts.toast_of && <span class="note"> of {row.texts.toast_of}</span>}
        </span>
      ),
    },
    labelColumn('datname', 'Database', { wide: true }),
    {
      key: 'due',
      title: 'Due',
      value: dueFor,
      cell: (row) => {
        const what = dueFor(row);
        if (!what) return '';
        return (
          <span class={holds(row, 'is_autovacuum_enabled') ? 'warn-text' : 'bad-text'}>
            {what}
            {!holds(row, 'is_autovacuum_enabled') && ', autovacuum is off for it'}
          </span>
        );
      },
    },
    {
      key: 'dead_rows',
      title: 'Dead rows',
      numeric: true,
      hint: 'Against the number above which autovacuum vacuums, by the table’s own options and the settings',
      value: (row) => share(row, 'dead_rows', 'vacuum_threshold'),
      cell: (row) => against(figure(row, 'dead_rows'), figure(row, 'vacuum_threshold')),
    },
    {
      key: 'inserted_rows',
      title: 'Inserted',
      numeric: true,
      wide: true,
      value: (row) => share(row, 'inserted_rows', 'insert_threshold'),
      cell: (row) => against(figure(row, 'inserted_rows'), figure(row, 'insert_threshold')),
    },
    {
      key: 'modified_rows',
      title: 'Changed',
      numeric: true,
      wide: true,
      hint: 'Against the number above which autovacuum analyzes',
      value: (row) => share(row, 'modified_rows', 'analyze_threshold'),
      cell: (row) => against(figure(row, 'modified_rows'), figure(row, 'analyze_threshold')),
    },
    {
      key: 'xid_age',
      title: 'Age',
      numeric: true,
      wide: true,
      hint: 'Of its oldest transaction id, against the age at which autovacuum freezes',
      value: (row) => share(row, 'xid_age', 'freeze_max_age'),
      cell: (row) => against(figure(row, 'xid_age'), figure(row, 'freeze_max_age')),
    },
    {
      key: 'command',
      title: 'By hand',
      wide: true,
      value: (row) => (dueFor(row) ? commandOf(row) : ''),
      cell: (row) => (dueFor(row) ? <Remedy>{commandOf(row)}</Remedy> : ''),
    },
  ];
  const dueRows = (due.data?.rows ?? []).filter((row) => dueFor(row) !== '');

  const runningColumns: Column<MetricRow>[] = [
    {
      key: 'relation',
      title: 'Table',
      class: 'grow',
      value: (row) => text(row, 'relation') || label(row, 'relid'),
    },
    labelColumn('datname', 'Database'),
    textColumn('phase', 'Phase'),
    {
      key: 'scanned',
      title: 'Scanned',
      numeric: true,
      value: (row) => share(row, 'heap_blks_scanned', 'heap_blks_total'),
      cell: (row) => {
        const part = share(row, 'heap_blks_scanned', 'heap_blks_total');
        return part === null ? <Unknown /> : <Share share={part} text={percent(part)} />;
      },
    },
    figureColumn('index_vacuum_count', 'Passes', '1', {
      hint: 'Over the indexes; more than one means that maintenance_work_mem is too small',
    }),
    figureColumn('age_us', 'Runs for', 'us'),
    {
      key: 'started_by',
      title: 'Started by',
      value: (row) =>
        holds(row, 'is_to_prevent_wraparound')
          ? 'autovacuum, to prevent wraparound'
          : holds(row, 'is_autovacuum')
            ? 'autovacuum'
            : 'somebody',
    },
    { key: 'pid', title: 'Process', numeric: true, wide: true, value: (row) => Number(label(row, 'pid')) },
  ];

  const ageColumns: Column<MetricRow>[] = [
    nameColumn('datname', 'Database', (row) => label(row, 'datname')),
    figureColumn('xid_age', 'Oldest transaction', 'xacts'),
    percentColumn('wraparound_percent', 'Of all there are'),
    figureColumn('xids_left', 'Left', 'xacts', { hint: 'Transactions until the server takes no more writes' }),
    figureColumn('mxid_age', 'Oldest multixact', 'xacts', { wide: true }),
    figureColumn('mxids_left', 'Multixacts left', 'xacts', { wide: true }),
  ];

  const bloatColumns = (of: string, title: string, size: string): Column<MetricRow>[] => [
    nameColumn(of, title, (row) => qualified(row.labels, label(row, of))),
    labelColumn('datname', 'Database', { wide: true }),
    figureColumn(size, 'Size', 'bytes'),
    figureColumn('bloat_bytes', 'Beyond need', 'bytes', { hint: 'Estimated room that a rewrite would give back' }),
    percentColumn('bloat_percent', 'of it', {
      whyUnknown: 'Widths of its columns are not known: analyze it, and let the login read it',
    }),
  ];

  return (
    <>
      <TablePanel
        title="What holds dead rows back"
        note={asOf(holders)}
        asks={[holdersAsk]}
        answers={[holders]}
        columns={holderColumns}
        rows={holders.data?.rows ?? []}
        rowKey={(row) => `${label(row, 'holder_class')} ${label(row, 'holder')}`}
        sort="-xmin_age"
        empty={<Empty title="Nobody held an old snapshot at the end of the range." />}
      />
      <TablePanel
        title="Vacuum due"
        note={due.data && `${dueRows.length} of ${due.data.rows_found} tables${asOf(due) ? `, ${asOf(due)}` : ''}`}
        asks={[dueAsk]}
        answers={[due]}
        columns={dueColumns}
        rows={dueRows}
        rowKey={(row) => `${label(row, 'datname')} ${label(row, 'schemaname')} ${label(row, 'relname')}`}
        sort="-dead_rows"
        most={100}
        empty={
          (due.data?.rows_found ?? 0) > 0 ? (
            <Empty title="No table is due by its limits." />
          ) : (
            <Empty title="Limits were not read in the 25 hours before the end of the range.">
              Tables are read in the databases of POSTGRES_DATABASES; <code>*</code> means all of them.
            </Empty>
          )
        }
      />
      <TablePanel
        title="Vacuums at work"
        note={
          (running.data?.rows ?? []).length > 0 &&
          `the longest for ${milliseconds(Math.max(...(running.data?.rows ?? []).map((row) => figure(row, 'age_us') ?? 0)) / 1000)}`
        }
        asks={[runningAsk]}
        answers={[running]}
        columns={runningColumns}
        rows={running.data?.rows ?? []}
        rowKey={(row) => label(row, 'pid')}
        sort="-age_us"
        empty={<Empty title="No vacuum ran at the end of the range." />}
      />
      <TablePanel
        title="Distance from wraparound"
        note={asOf(age)}
        asks={[ageAsk]}
        answers={[age]}
        columns={ageColumns}
        rows={age.data?.rows ?? []}
        rowKey={(row) => label(row, 'datname')}
        sort="-xid_age"
        empty={<Empty title="It was not read in the 25 hours before the end of the range." />}
      />
      <div class="grid">
        <TablePanel
          title="Bloat of tables"
          note="estimated"
          asks={[bloatAsk]}
          answers={[bloat]}
          columns={bloatColumns('relname', 'Table', 'table_bytes')}
          rows={bloat.data?.rows ?? []}
          rowKey={(row) => `${label(row, 'datname')} ${label(row, 'schemaname')} ${label(row, 'relname')}`}
          sort="-bloat_bytes"
          most={20}
          empty={<Empty title="No table above 1 MiB is known." />}
        />
        <TablePanel
          title="Bloat of indexes"
          note="estimated"
          asks={[indexBloatAsk]}
          answers={[indexBloat]}
          columns={bloatColumns('indexrelname', 'Index', 'index_bytes')}
          rows={indexBloat.data?.rows ?? []}
          rowKey={(row) => `${label(row, 'datname')} ${label(row, 'schemaname')} ${label(row, 'indexrelname')}`}
          sort="-bloat_bytes"
          most={20}
          empty={<Empty title="No index above 1 MiB is known." />}
        />
      </div>
    </>
  );
}

function commandOf(row: MetricRow): string {
  const table = `${quoteIdent(label(row, 'schemaname'))}.${quoteIdent(label(row, 'relname'))}`;
  if (holds(row, 'is_freeze_due')) return `VACUUM (FREEZE) ${table}`;
  if (wantsVacuum(row) || wantsVacuumAfterInserts(row)) {
    return `VACUUM ${wantsAnalyze(row) ? '(ANALYZE) ' : ''}${table}`;
  }
  return `ANALYZE ${table}`;
}
