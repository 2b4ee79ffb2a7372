// Receivers, slots and the standby's own replay. Asks: state of receivers and of slots, lag, WAL kept, replay delay.

import * as ask from '../api/asks.ts';
import type { StateRow } from '../api/generated.ts';
import { useAsk } from '../state/query.ts';
import { Panel } from '../ui/panel.tsx';
import { Empty } from '../ui/states.tsx';
import { type Column, Table, tableData } from '../ui/table.tsx';
import { LineChart } from './linechart.tsx';
import type { TabProps } from './source.tsx';

export function ReplicationTab({ page, source, name, readings }: TabProps) {
  const { view, range } = page;
  const step = readings.step(120, 'replication_slots');
  const receiversAsk = ask.stateOf(range, { metric: 'replication', source: [name] });
  const slotsAsk = ask.stateOf(range, { metric: 'replication_slots', source: [name] });
  const receivers = useAsk(receiversAsk, view.now);
  const slots = useAsk(slotsAsk, view.now);
  const value = (key: string) => (row: StateRow) => row.values[key] ?? '';
  const label = (key: string) => (row: StateRow) => row.labels[key] ?? '';
  const receiverColumns: Column<StateRow>[] = [
    { key: 'application_name', title: 'Receiver', class: 'grow', value: label('application_name') },
    { key: 'client_addr', title: 'Address', value: label('client_addr') },
    { key: 'state', title: 'State', value: value('state') },
    { key: 'sync_state', title: 'Synchronous', value: value('sync_state') },
    { key: 'slot_name', title: 'Slot', value: value('slot_name') },
    { key: 'usename', title: 'User', wide: true, value: label('usename') },
    { key: 'pid', title: 'Process', numeric: true, wide: true, value: label('pid') },
  ];
  const slotColumns: Column<StateRow>[] = [
    { key: 'slot_name', title: 'Slot', class: 'grow', value: label('slot_name') },
    { key: 'slot_type', title: 'Kind', value: value('slot_type') },
    {
      key: 'is_active',
      title: 'In use',
      value: value('is_active'),
      cell: (row) =>
        row.values.is_active === 'true' ? 'yes' : <span class="bad-text">no: it keeps WAL for nobody</span>,
    },
    { key: 'wal_status', title: 'WAL', value: value('wal_status') },
    { key: 'plugin', title: 'Plugin', wide: true, value: value('plugin') },
    { key: 'datname', title: 'Database', wide: true, value: value('datname') },
  ];
  const receiverName = (series: { labels: Record<string, string> }) =>
    `${series.labels.application_name || series.labels.pid} ${series.labels.client_addr ?? ''}`.trim();
  return (
    <>
      <Panel
        title="Receivers"
        asks={[receiversAsk]}
        data={() => tableData(receiverColumns, receivers.data?.rows ?? [])}
        error={receivers.error}
        loading={receivers.loading}
        skeleton={receivers.data ? undefined : 96}
      >
        {(receivers.data?.rows ?? []).length > 0 ? (
          <Table
            caption="Receivers"
            columns={receiverColumns}
            rows={receivers.data?.rows ?? []}
            rowKey={(row) => `${row.labels.pid} ${row.labels.application_name}`}
            sort="application_name"
          />
        ) : (
          <Empty title="Nobody receives WAL from this server." />
        )}
      </Panel>
      <Panel
        title="Slots"
        asks={[slotsAsk]}
        data={() => tableData(slotColumns, slots.data?.rows ?? [])}
        error={slots.error}
        loading={slots.loading}
        skeleton={slots.data ? undefined : 96}
      >
        {(slots.data?.rows ?? []).length > 0 ? (
          <Table
            caption="Slots"
            columns={slotColumns}
            rows={slots.data?.rows ?? []}
            rowKey={(row) => row.labels.slot_name ?? ''}
            sort="slot_name"
          />
        ) : (
          <Empty title="There are no replication slots." />
        )}
      </Panel>
      <div class="grid">
        <LineChart
          page={page}
          title="WAL not replayed by receivers"
          unit="bytes"
          sync="replication"
          step={step}
          empty="No receiver in this range."
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
