// Write-ahead log, checkpoints and archiving. Asks: one question a column of a chart, the last checkpoint, the archiver.

import * as ask from '../api/asks.ts';
import type { MetricRow } from '../api/generated.ts';
import { useAsk } from '../state/query.ts';
import { figure, newest, text } from '../state/rows.ts';
import { dateTime, duration } from '../state/time.ts';
import { count, percent } from '../state/units.ts';
import { Ago, figureColumn, textColumn } from '../ui/cells.tsx';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
import { LineChart } from './linechart.tsx';
import type { TabProps } from './source.tsx';

export function WalTab({ page, name, readings }: TabProps) {
  const { view, range, zone } = page;
  const step = readings.step(120, 'wal');
  const one = (metric: string, column: string, more: object = {}) => ({
    metric,
    column,
    source: [name],
    groupBy: ['none'],
    ...more,
  });
  const checkpointsAsk = ask.rows(range, { metric: 'checkpointer', source: [name] });
  const archiverAsk = ask.rows(range, { metric: 'archiver', source: [name] });
  const checkpoints = useAsk(checkpointsAsk, view.now);
  const archiver = useAsk(archiverAsk, view.now);
  const checkpointColumns: Column<MetricRow>[] = [
    {
      key: 'last_checkpoint_at',
      title: 'Last checkpoint',
      class: 'grow',
      value: (row) => text(row, 'last_checkpoint_at'),
      cell: (row) => <Ago at={newest(row.texts.last_checkpoint_at)} now={view.now} zone={zone} />,
    },
    figureColumn('checkpoints_timed', 'By time', '1', { hint: 'Due by checkpoint_timeout, in the range' }),
    {
      ...figureColumn('checkpoints_requested', 'Asked for', '1', {
        hint: 'Mostly because max_wal_size was reached, in the range',
      }),
      cell: (row) => {
        const asked = figure(row, 'checkpoints_requested');
        const timed = figure(row, 'checkpoints_timed');
        if (asked === undefined) return 'unknown';
        return asked > (timed ?? 0) ? (
          <span class="warn-text" title="More than by time: raise max_wal_size">
            {count(asked)}
          </span>
        ) : (
          count(asked)
        );
      },
    },
    figureColumn('buffers_written', 'Buffers written', 'blocks'),
    figureColumn('write_time_us', 'Writing', 'us'),
    figureColumn('sync_time_us', 'Syncing', 'us'),
    textColumn('last_checkpoint_lsn', 'Recovery begins at', { wide: true, class: 'mono' }),
  ];
  const archiverColumns: Column<MetricRow>[] = [
    {
      key: 'last_archived_time',
      title: 'Last archived',
      value: (row) => text(row, 'last_archived_time'),
      cell: (row) => <Ago at={newest(row.texts.last_archived_time)} now={view.now} zone={zone} />,
    },
    textColumn('last_archived_wal', 'File', { class: 'mono grow', wide: true }),
    figureColumn('archived_count', 'Archived', '1', { hint: 'In the range' }),
    {
      ...figureColumn('failed_count', 'Failed', '1', { hint: 'Attempts in the range' }),
      cell: (row) => {
        const failed = figure(row, 'failed_count');
        if (!failed) return failed === 0 ? '0' : 'unknown';
        return <span class="bad-text">{count(failed)}</span>;
      },
    },
    {
      key: 'last_failed_time',
      title: 'Last failure',
      value: (row) => text(row, 'last_failed_time'),
      cell: (row) => {
        const at = newest(row.texts.last_failed_time);
        return at === undefined ? 'none' : <span title={text(row, 'last_failed_wal')}>{dateTime(at, zone)}</span>;
      },
    },
  ];
  return (
    <>
      <TablePanel
        title="Checkpoints"
        note={
          checkpoints.data &&
          `in ${duration(range.end - range.start)}, ${percent(checkpoints.data.completeness)} covered`
        }
        asks={[checkpointsAsk]}
        answers={[checkpoints]}
        columns={checkpointColumns}
        rows={checkpoints.data?.rows ?? []}
        rowKey={(row) => row.source_id}
        sort=""
        empty={<Empty title="Checkpoints are not known in this range." />}
      />
      <TablePanel
        title="Archiving"
        asks={[archiverAsk]}
        answers={[archiver]}
        columns={archiverColumns}
        rows={(archiver.data?.rows ?? []).filter((row) => row.texts.last_archived_time || row.texts.last_failed_time)}
        rowKey={(row) => row.source_id}
        sort=""
        empty={
          <Empty title="No WAL file was ever archived.">
            The setting <code>archive_mode</code> is off, or no file is full yet.
          </Empty>
        }
      />
      <div class="grid">
        <LineChart
          page={page}
          title="WAL written"
          unit="bytes/s"
          sync="wal"
          step={step}
          parts={[
            { label: 'all', question: one('wal', 'wal_bytes', { rate: true }) },
            { label: 'by position', question: one('wal', 'position_bytes', { rate: true }) },
          ]}
        />
        <LineChart
          page={page}
          title="Records and full page images"
          unit="1/s"
          sync="wal"
          step={step}
          parts={[
            { label: 'records', question: one('wal', 'wal_records', { rate: true }) },
            { label: 'page images', question: one('wal', 'wal_fpi', { rate: true }) },
          ]}
        />
        <LineChart
          page={page}
          title="Files of the log"
          unit="bytes"
          sync="wal"
          step={step}
          parts={[{ label: 'pg_wal', question: one('wal', 'directory_bytes', { aggregate: 'last' }) }]}
        />
        <LineChart
          page={page}
          title="Checkpoints over time"
          unit="1"
          sync="wal"
          step={step}
          parts={[
            { label: 'by time', question: one('checkpointer', 'checkpoints_timed') },
            { label: 'asked for', question: one('checkpointer', 'checkpoints_requested') },
          ]}
        />
      </div>
    </>
  );
}
