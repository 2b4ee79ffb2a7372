// What sessions did at an instant, and their number by state over the range. Asks: sessions by state, connections allowed,
// activity at the instant.

import * as ask from '../api/asks.ts';
import type { ActivityRow } from '../api/generated.ts';
import { waitClass } from '../charts/colors.ts';
import { statementHref } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { dateTime } from '../state/time.ts';
import { number } from '../state/units.ts';
import { change } from '../state/url.ts';
import { chosenInstant, InstantBar } from '../ui/instant.tsx';
import { Panel } from '../ui/panel.tsx';
import { Sql } from '../ui/sql.tsx';
import { Empty } from '../ui/states.tsx';
import { type Column, Table, tableData } from '../ui/table.tsx';
import { LineChart } from './linechart.tsx';
import type { TabProps } from './source.tsx';

// From the bottom of the stack.
const stateColors: Record<string, string> = {
  active: '#2f9e5f',
  'idle in transaction': '#f0a09c',
  'idle in transaction (aborted)': '#d23f3f',
  'fastpath function call': '#8459cf',
  idle: '#b4bcc4',
};

export function ActivityTab({ page, name, readings }: TabProps) {
  const { view, range, zone } = page;
  const chosen = chosenInstant(page);
  const question = ask.activityAt(chosen, [name]);
  const answer = useAsk(question, view.now);
  const all = answer.data?.rows ?? [];
  const idle = view.query.get('idle') === '1';
  const rows = idle ? all : all.filter((row) => row.state !== '' && row.state !== 'idle');
  const time = all[0]?.time;
  const sampled = answer.data?.sources[0];
  const columns: Column<ActivityRow>[] = [
    {
      key: 'average_sessions',
      title: 'Sessions',
      numeric: true,
      value: (row) => row.average_sessions,
      cell: (row) => number(row.average_sessions),
    },
    { key: 'state', title: 'State', value: (row) => row.state || 'background' },
    {
      key: 'wait',
      title: 'Waits for',
      value: (row) =>
        row.wait_event_type ? `${row.wait_event_type}: ${row.wait_event}` : row.state === 'active' ? 'CPU' : '',
      cell: (row) => {
        if (!row.wait_event_type && row.state !== 'active') return '';
        const one = waitClass(row.wait_event_type);
        return (
          <span class="nowrap">
            <i class="dot" style={{ background: one.color }} /> {one.name}
            {row.wait_event && `: ${row.wait_event}`}
          </span>
        );
      },
    },
    { key: 'user', title: 'User', value: (row) => row.user_name },
    { key: 'application', title: 'Application', value: (row) => row.application_name },
    { key: 'database', title: 'Database', wide: true, value: (row) => row.database_name },
    {
      key: 'statement',
      title: 'Statement',
      class: 'grow text',
      value: (row) => row.query_text || row.query_id,
      cell: (row) =>
        row.query_id && row.query_id !== '0' ? (
          <a href={statementHref(name, row.query_id)}>
            {row.query_text ? <Sql text={row.query_text} /> : row.query_id}
          </a>
        ) : (
          <Sql text={row.query_text} />
        ),
    },
  ];
  return (
    <>
      <LineChart
        page={page}
        title="Sessions by state"
        unit="sessions"
        kind="area"
        step={readings.step(120)}
        height={180}
        parts={[
          {
            label: 'sessions',
            question: {
              metric: 'activity',
              column: 'sessions_avg',
              source: [name],
              filter: ['backend_type=client backend'],
              groupBy: ['state'],
            },
            nameOf: (series) => series.labels.state || 'other',
            colorOf: (series) => stateColors[series.labels.state ?? ''],
            orderOf: (series) => Object.keys(stateColors).indexOf(series.labels.state ?? ''),
          },
        ]}
      />
      <Panel
        title={chosen === undefined ? 'Now' : 'At that instant'}
        note={time ? `interval that ended ${dateTime(Date.parse(time), zone)}` : undefined}
        asks={[question]}
        data={() => tableData(columns, rows)}
        error={answer.error}
        loading={answer.loading}
        skeleton={answer.data ? undefined : 240}
        tools={
          <label class="check">
            <input
              type="checkbox"
              checked={idle}
              onChange={(event) => change({ idle: event.currentTarget.checked ? '1' : undefined }, 'replace')}
            />
            idle and background too
          </label>
        }
      >
        <InstantBar
          page={page}
          at={chosen ?? range.end}
          chosen={chosen !== undefined}
          label="Instant of the activity"
        />
        {rows.length > 0 ? (
          <Table
            key={chosen === undefined ? 'now' : 'then'}
            caption="Sessions"
            columns={columns}
            rows={rows}
            rowKey={(row) =>
              [
                row.database_name,
                row.user_name,
                row.application_name,
                row.query_id,
                row.state,
                row.wait_event_type,
                row.wait_event,
                row.query_text,
              ].join('\u0000')
            }
            sort="-average_sessions"
          />
        ) : all.length > 0 ? (
          <Empty title="Every session was idle." />
        ) : (
          <Empty title="Nothing was sampled then.">
            {sampled?.last_sampled_at
              ? `The last sample is of ${dateTime(Date.parse(sampled.last_sampled_at), zone)}.`
              : `Nothing was sampled in the 25 hours before.`}
          </Empty>
        )}
      </Panel>
    </>
  );
}
