// The range against the same hours of an earlier week: figures, and sessions by the chosen slice. One ask.

import * as ask from '../api/asks.ts';
import type { LoadChange, LoadFigure } from '../api/generated.ts';
import { statementHref } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { dateTime, type Range } from '../state/time.ts';
import { change as changeOf, percent, withUnit } from '../state/units.ts';
import { change } from '../state/url.ts';
import { Choice } from '../ui/choice.tsx';
import { oneLine } from '../ui/sqltext.ts';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
import type { TabProps } from './source.tsx';

const slices = [
  { key: 'wait', title: 'wait class' },
  { key: 'wait_event', title: 'wait event' },
  { key: 'statement', title: 'statement' },
  { key: 'user', title: 'user' },
  { key: 'application', title: 'application' },
  { key: 'database', title: 'database' },
  { key: 'backend_type', title: 'kind of process' },
] as const;
const weeks = ['1', '2', '3', '4'].map((key) => ({
  key,
  title: key === '1' ? 'a week before' : `${key} weeks before`,
}));
const titles: Record<string, string> = {
  active_sessions: 'Active sessions',
  transactions: 'Transactions',
  rows_returned: 'Rows read',
  blocks_read: 'Blocks read',
  temp_bytes: 'Temporary files',
  wal_bytes: 'WAL',
  deadlocks: 'Deadlocks',
  blocked_seconds: 'Waiting for others',
};
const minuteMs = 60_000;
const leastMs = 15 * minuteMs;
const mostMs = 24 * 60 * minuteMs;

// As much of the end of the range as the API compares.
export function comparedRange(range: Range): Range {
  const length = Math.min(Math.max(range.end - range.start, leastMs), mostMs);
  const minutes = Math.round(length / minuteMs);
  return { start: range.end - minutes * minuteMs, end: range.end };
}

const figureColumns: Column<LoadFigure>[] = [
  {
    key: 'what',
    title: 'What',
    class: 'grow',
    value: (row) => titles[row.name] ?? row.name,
    cell: (row) => <span class="strong">{titles[row.name] ?? row.name}</span>,
  },
  {
    key: 'before',
    title: 'Before',
    numeric: true,
    value: (row) => row.before ?? null,
    cell: (row) => withUnit(row.before, row.unit),
  },
  {
    key: 'now',
    title: 'Now',
    numeric: true,
    value: (row) => row.now ?? null,
    cell: (row) => withUnit(row.now, row.unit),
  },
  {
    key: 'change',
    title: 'Change',
    numeric: true,
    value: (row) => row.change_percent ?? null,
    cell: (row) => (row.before === undefined || row.now === undefined ? '–' : changeOf(row.now, row.before)),
  },
];

export function WeeksTab({ page, name }: TabProps) {
  const { view, range, zone } = page;
  const by = slices.find((slice) => slice.key === view.query.get('by')) ?? slices[0];
  const back = weeks.find((one) => one.key === view.query.get('weeks')) ?? weeks[0];
  const compared = comparedRange(range);
  const question = ask.loadComparison(compared, { source: name, by: by.key, weeks: Number(back?.key ?? 1) });
  const answer = useAsk(question, view.now);
  const changeColumns: Column<LoadChange>[] = [
    {
      key: 'key',
      title: by.title,
      class: 'grow',
      value: (row) => row.key,
      cell: (row) =>
        by.key === 'statement' && row.key ? (
          <a href={statementHref(name, row.key)}>{oneLine(row.query_text || row.key).slice(0, 100)}</a>
        ) : (
          <span class="strong">{row.key || 'not known'}</span>
        ),
    },
    {
      key: 'before',
      title: 'Before',
      numeric: true,
      value: (row) => row.before,
      cell: (row) => withUnit(row.before, 'sessions'),
    },
    {
      key: 'now',
      title: 'Now',
      numeric: true,
      value: (row) => row.now,
      cell: (row) => withUnit(row.now, 'sessions'),
    },
    {
      key: 'change',
      title: 'More sessions',
      numeric: true,
      value: (row) => (row.change === undefined ? null : Math.abs(row.change)),
      cell: (row) =>
        row.change === undefined
          ? 'unknown'
          : `${row.change > 0 ? '+' : row.change < 0 ? '−' : ''}${withUnit(Math.abs(row.change), 'sessions')}`,
    },
  ];
  const window = (of: { start?: string; end?: string; completeness: number } | undefined) =>
    of?.start && of.end
      ? `${dateTime(Date.parse(of.start), zone)} – ${dateTime(Date.parse(of.end), zone)}, ${percent(of.completeness)} covered`
      : '';
  const unknown = answer.data !== undefined && (answer.data.before?.completeness ?? 0) === 0;
  const covered = (answer.data?.before?.completeness ?? 0) > 0 || (answer.data?.now?.completeness ?? 0) > 0;
  return (
    <>
      <TablePanel
        title="Against an earlier week"
        tools={
          <Choice
            label="with"
            value={back?.key ?? '1'}
            options={weeks}
            onChoose={(key) => change({ weeks: key === '1' ? undefined : key }, 'replace')}
          />
        }
        head={
          <dl class="windows">
            <dt>now</dt>
            <dd>{window(answer.data?.now)}</dd>
            <dt>before</dt>
            <dd>{window(answer.data?.before)}</dd>
          </dl>
        }
        foot={unknown ? <p class="muted">Of the week before nothing is stored: its figures are unknown.</p> : undefined}
        asks={[question]}
        answers={[answer]}
        columns={figureColumns}
        rows={answer.data?.figures ?? []}
        rowKey={(row) => row.name}
        sort=""
        skeleton={280}
        empty={<Empty title="Nothing is known of these hours." />}
      />
      <TablePanel
        title="Sessions"
        note="active sessions on average"
        tools={
          <Choice
            label="by"
            value={by.key}
            options={slices}
            onChoose={(key) => change({ by: key === 'wait' ? undefined : key }, 'replace')}
          />
        }
        asks={[question]}
        answers={[answer]}
        columns={changeColumns}
        rows={answer.data?.changes ?? []}
        rowKey={(row) => row.key}
        sort="-change"
        tableKey={by.key}
        most={20}
        empty={
          <Empty title={covered ? 'No session was active in either window.' : 'Nothing is known of either window.'} />
        }
      />
    </>
  );
}
