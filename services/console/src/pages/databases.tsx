// Databases: hit ratio, transactions, deadlocks, temporary files, size. Asks: what each counted, their sizes, blocks and
// deadlocks over time.

import * as ask from '../api/asks.ts';
import type { MetricRow } from '../api/generated.ts';
import { useAsk } from '../state/query.ts';
import { byKey, figure, keyOf, label } from '../state/rows.ts';
import { duration } from '../state/time.ts';
import { bytes, count, percent } from '../state/units.ts';
import { figureColumn, known, nameColumn, Unknown } from '../ui/cells.tsx';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
import { LineChart } from './linechart.tsx';
import type { TabProps } from './source.tsx';

const counted = [
  'numbackends',
  'xact_commit',
  'xact_rollback',
  'blks_read',
  'blks_hit',
  'deadlocks',
  'conflicts',
  'temp_files',
  'temp_bytes',
];

function hitRatio(row: MetricRow): number | undefined {
  const hit = figure(row, 'blks_hit');
  const read = figure(row, 'blks_read');
  return hit === undefined || read === undefined || hit + read === 0 ? undefined : hit / (hit + read);
}

export function DatabasesTab({ page, name, readings }: TabProps) {
  const { view, range } = page;
  const step = readings.step(120, 'database');
  const question = ask.rows(range, { metric: 'database', source: [name], column: counted });
  const sizesAsk = ask.rows(range, { metric: 'database_size', source: [name], column: ['size_bytes'] });
  const answer = useAsk(question, view.now);
  const sizes = useAsk(sizesAsk, view.now);
  const sizeOf = byKey(sizes.data?.rows);
  const rows = answer.data?.rows ?? [];
  const sum = (column: string) => rows.reduce((all, row) => all + (figure(row, column) ?? 0), 0);
  const hit = sum('blks_hit');
  const read = sum('blks_read');
  const size = (row: MetricRow) => {
    const found = sizeOf.get(keyOf(row.labels));
    return found && figure(found, 'size_bytes');
  };
  const bad = (key: string, title: string, hint: string): Column<MetricRow> => ({
    ...figureColumn(key, title, '1', { hint }),
    cell: (row) => {
      const value = figure(row, key);
      if (value === undefined) return <Unknown />;
      return value > 0 ? <span class="bad-text">{count(value)}</span> : '0';
    },
  });
  const columns: Column<MetricRow>[] = [
    nameColumn('datname', 'Database', (row) => label(row, 'datname') || 'shared objects'),
    {
      key: 'size_bytes',
      title: 'Size',
      numeric: true,
      value: (row) => size(row) ?? null,
      cell: (row) => (label(row, 'datname') === '' ? '' : known(size(row), bytes)),
    },
    figureColumn('numbackends', 'Sessions', '1', { hint: 'At the end of the range' }),
    figureColumn('xact_commit', 'Committed', 'xacts'),
    figureColumn('xact_rollback', 'Rolled back', 'xacts'),
    {
      key: 'hit_ratio',
      title: 'Hit ratio',
      numeric: true,
      hint: 'Blocks found in shared buffers, of all that were asked for',
      value: (row) => hitRatio(row) ?? null,
      cell: (row) => known(hitRatio(row), percent),
    },
    figureColumn('blks_read', 'Blocks read', 'blocks', { wide: true }),
    bad('deadlocks', 'Deadlocks', 'In the range'),
    bad('conflicts', 'Conflicts', 'Statements cancelled by recovery, on standbys'),
    figureColumn('temp_bytes', 'Temp. files', 'bytes', { wide: true }),
  ];
  return (
    <>
      <TablePanel
        title="Databases"
        note={
          answer.data &&
          `in ${duration(range.end - range.start)}, ${percent(answer.data.completeness)} covered; hit ratio of all ${hit + read > 0 ? percent(hit / (hit + read)) : 'unknown'}`
        }
        asks={[question, sizesAsk]}
        answers={[answer, sizes]}
        columns={columns}
        rows={rows}
        rowKey={(row) => label(row, 'datname')}
        sort="-xact_commit"
        empty={<Empty title="No database is known in this range." />}
      />
      <div class="grid">
        <LineChart
          page={page}
          title="Hit ratio"
          unit="share"
          sync="databases"
          step={step}
          share
          parts={[
            {
              label: 'of all databases',
              question: { metric: 'database', column: 'blks_hit', source: [name], groupBy: ['none'] },
            },
            {
              label: 'read',
              question: { metric: 'database', column: 'blks_read', source: [name], groupBy: ['none'] },
            },
          ]}
        />
        <LineChart
          page={page}
          title="Deadlocks"
          unit="1"
          sync="databases"
          step={step}
          parts={[
            {
              label: 'deadlocks',
              question: { metric: 'database', column: 'deadlocks', source: [name], groupBy: ['datname'] },
              nameOf: (series) => series.labels.datname || 'shared objects',
            },
          ]}
        />
      </div>
    </>
  );
}
