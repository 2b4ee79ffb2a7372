// Receivers, slots and the standby's own replay. Asks: rows of receivers and of slots, lag, WAL kept, replay delay.

import * as ask from '../api/asks.ts';
import type { MetricRow } from '../api/generated.ts';
import { useAsk } from '../state/query.ts';
import { figure, holds, label } from '../state/rows.ts';
import { bytes, milliseconds } from '../state/units.ts';
import { figureColumn, labelColumn, textColumn } from '../ui/cells.tsx';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
import { LineChart } from './linechart.tsx';
import type { TabProps } from './source.tsx';

export function ReplicationTab({ page, source, name, readings }: TabProps) {
  const { view, range } = page;
  const step = readings.step(120, 'replication_slots');
  const receiversAsk = ask.rows(range, { metric: 'replication', source: [name] });
  const slotsAsk = ask.rows(range, { metric: 'replication_slots', source: [name], sort: '-retained_bytes' });
  const receivers = useAsk(receiversAsk, view.now);
  const slots = useAsk(slotsAsk, view.now);
  const receiverColumns: Column<MetricRow>[] = [
    labelColumn('application_name', 'Receiver', { class: 'grow' }),
    labelColumn('client_addr', 'Address'),
    textColumn('state', 'State'),
    textColumn('sync_state', 'Synchronous'),
    figureColumn('write_lag_bytes', 'Not written', 'bytes', { wide: true }),
    figureColumn('flush_lag_bytes', 'Not flushed', 'bytes', { wide: true }),
    figureColumn('replay_lag_bytes', 'Not replayed', 'bytes', { hint: 'Not known of a receiver that replays nothing' }),
    {
      ...figureColumn('replay_lag_us', 'Behind', 'us', {
        hint: 'Time between a flush here and the news that it was replayed there; nothing while nothing is written',
      }),
      cell: (row) => {
        const lag = figure(row, 'replay_lag_us');
        return lag === undefined ? <span class="muted">idle</span> : milliseconds(lag / 1000);
      },
    },
    textColumn('slot_name', 'Slot', { wide: true }),
    labelColumn('usename', 'User', { wide: true }),
  ];
  const slotColumns: Column<MetricRow>[] = [
    labelColumn('slot_name', 'Slot', { class: 'grow' }),
    textColumn('slot_type', 'Kind'),
    {
      ...textColumn('is_active', 'In use'),
      cell: (row) => (holds(row, 'is_active') ? 'yes' : <span class="bad-text">no: it keeps WAL for nobody</span>),
    },
    figureColumn('retained_bytes', 'WAL kept', 'bytes'),
    textColumn('wal_status', 'WAL'),
    {
      ...figureColumn('safe_wal_size_bytes', 'Safe for', 'bytes', {
        wide: true,
        hint: 'WAL that may be written before the slot is lost; no bound without max_slot_wal_keep_size',
      }),
      cell: (row) => {
        const safe = figure(row, 'safe_wal_size_bytes');
        return safe === undefined ? <span class="muted">no bound</span> : bytes(safe);
      },
    },
    figureColumn('xmin_age', 'Holds back', 'xacts', { wide: true, hint: 'Transactions whose dead rows it keeps' }),
    textColumn('plugin', 'Plugin', { wide: true }),
    textColumn('datname', 'Database', { wide: true }),
  ];
  const receiverName = (series: { labels: Record<string, string> }) =>
    `${series.labels.application_name || series.labels.pid} ${series.labels.client_addr ?? ''}`.trim();
  return (
    <>
      <TablePanel
        title="Receivers"
        asks={[receiversAsk]}
        answers={[receivers]}
        columns={receiverColumns}
        rows={receivers.data?.rows ?? []}
        rowKey={(row) => `${label(row, 'pid')} ${label(row, 'application_name')}`}
        sort="-replay_lag_bytes"
        empty={<Empty title="Nobody receives WAL from this server." />}
      />
      <TablePanel
        title="Slots"
        asks={[slotsAsk]}
        answers={[slots]}
        columns={slotColumns}
        rows={slots.data?.rows ?? []}
        rowKey={(row) => label(row, 'slot_name')}
        sort="-retained_bytes"
        empty={<Empty title="There are no replication slots." />}
      />
      <div class="grid">
        <LineChart
          page={page}
          title="WAL not replayed by receivers"
          unit="bytes"
          sync="replication"
          step={step}
          empty="No receiver that replays in this range."
          parts={[
            {
              label: 'lag',
              question: {
                metric: 'replication',
                column: 'replay_lag_bytes',
                source: [name],
                aggregate: 'max',
                groupBy: ['application_name', 'client_addr'],
              },
              nameOf: receiverName,
            },
          ]}
        />
        <LineChart
          page={page}
          title="WAL kept for slots"
          unit="bytes"
          sync="replication"
          step={step}
          empty="No slot keeps WAL in this range."
          parts={[
            {
              label: 'kept',
              question: {
                metric: 'replication_slots',
                column: 'retained_bytes',
                source: [name],
                groupBy: ['slot_name'],
              },
              nameOf: (series) => series.labels.slot_name ?? '',
            },
          ]}
        />
        {source.role === 'standby' && (
          <LineChart
            page={page}
            title="Replay delay"
            unit="us"
            sync="replication"
            step={step}
            parts={[
              {
                label: 'delay',
                question: { metric: 'recovery', column: 'replay_delay_us', source: [name], aggregate: 'max' },
              },
            ]}
          />
        )}
      </div>
    </>
  );
}
