// What sessions did at an instant, and their number by state over the range. Asks: sessions by state, connections allowed,
// activity at the instant.

import * as ask from '../api/asks.ts';
import type { ActivityRow, MetricRow } from '../api/generated.ts';
import { waitClass } from '../charts/colors.ts';
import { statementHref } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { holds, label, text } from '../state/rows.ts';
import { dateTime } from '../state/time.ts';
import { number } from '../state/units.ts';
import { change } from '../state/url.ts';
import { figureColumn, labelColumn, statementColumn, statementIdColumn, textColumn } from '../ui/cells.tsx';
import { chosenInstant, InstantBar } from '../ui/instant.tsx';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
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
    statementColumn(
      (row) => row,
      (row) => (row.query_id && row.query_id !== '0' ? statementHref(name, row.query_id) : undefined),
    ),
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
      <TablePanel
        title={chosen === undefined ? 'Now' : 'At that instant'}
        note={time ? `interval that ended ${dateTime(Date.parse(time), zone)}` : undefined}
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
        head={
          <InstantBar
            page={page}
            at={chosen ?? range.end}
            chosen={chosen !== undefined}
            label="Instant of the activity"
          />
        }
        asks={[question]}
        answers={[answer]}
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
        tableKey={chosen === undefined ? 'now' : 'then'}
        skeleton={240}
        empty={
          all.length > 0 ? (
            <Empty title="Every session was idle." />
          ) : (
            <Empty title="Nothing was sampled then.">
              {sampled?.last_sampled_at
                ? `The last sample is of ${dateTime(Date.parse(sampled.last_sampled_at), zone)}.`
                : `Nothing was sampled in the 25 hours before.`}
            </Empty>
          )
        }
      />
      <LongTransactions page={page} name={name} at={chosen} />
    </>
  );
}

// The oldest open transactions at the end of the range, or at the chosen instant.
function LongTransactions({ page, name, at }: { page: TabProps['page']; name: string; at: number | undefined }) {
  const { view, range, zone } = page;
  const question = ask.rows(at === undefined ? range : { start: at - 1000, end: at }, {
    metric: 'long_transactions',
    source: [name],
    sort: '-xact_age_us',
  });
  const answer = useAsk(question, view.now);
  const rows = answer.data?.rows ?? [];
  const read = rows[0]?.collected_at;
  const columns: Column<MetricRow>[] = [
    {
      key: 'pid',
      title: 'Process',
      numeric: true,
      value: (row) => Number(label(row, 'pid')),
      cell: (row) => label(row, 'pid'),
    },
    figureColumn('xact_age_us', 'Open for', 'us'),
    textColumn('state', 'State'),
    figureColumn('state_age_us', 'for', 'us', { hint: 'Time in the state' }),
    {
      key: 'wait',
      title: 'Waits for',
      value: (row) => (row.texts.wait_event ? `${text(row, 'wait_event_type')}: ${text(row, 'wait_event')}` : ''),
    },
    labelColumn('usename', 'User'),
    labelColumn('application_name', 'Application'),
    labelColumn('datname', 'Database', { wide: true }),
    {
      key: 'has_xid',
      title: 'Wrote',
      wide: true,
      hint: 'Has a transaction id of its own',
      value: (row) => holds(row, 'has_xid'),
      cell: (row) => (holds(row, 'has_xid') ? 'yes' : 'no'),
    },
    figureColumn('xmin_age', 'Holds back', 'xacts', { wide: true, hint: 'Transactions whose dead rows it keeps' }),
    statementIdColumn(name, { class: 'grow' }),
  ];
  return (
    <TablePanel
      title="Long transactions"
      note={read ? `open for 5 s and more at ${dateTime(Date.parse(read), zone)}` : undefined}
      asks={[question]}
      answers={[answer]}
      columns={columns}
      rows={rows}
      rowKey={(row) => label(row, 'pid')}
      sort="-xact_age_us"
      empty={<Empty title="No transaction was open for long at that time." />}
    />
  );
}
