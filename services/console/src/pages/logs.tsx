// The server's log: how many entries of which severity over time, of which classes, and the entries themselves. Asks:
// counts over time, counts by class, a page of entries.

import * as ask from '../api/asks.ts';
import type { LogEvent, MetricRow, Source } from '../api/generated.ts';
import { statementHref } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { figure, label } from '../state/rows.ts';
import { dateTime } from '../state/time.ts';
import { count, withUnit } from '../state/units.ts';
import { change } from '../state/url.ts';
import { cutText, Sql } from '../ui/sql.tsx';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
import { LineChart } from './linechart.tsx';
import type { TabProps } from './source.tsx';

// From the bottom of the stack.
const severities = [
  { key: 'PANIC', color: '#7d1f3f' },
  { key: 'FATAL', color: '#a8342f' },
  { key: 'ERROR', color: '#d23f3f' },
  { key: 'WARNING', color: '#ea8f2c' },
  { key: 'NOTICE', color: '#c2a21b' },
  { key: 'INFO', color: '#23a19b' },
  { key: 'LOG', color: '#3b78d4' },
  { key: 'DEBUG', color: '#8d969f' },
] as const;

const choices = [
  { key: 'errors', title: 'errors', severities: ['ERROR', 'FATAL', 'PANIC'] },
  { key: 'warnings', title: 'warnings and errors', severities: ['WARNING', 'ERROR', 'FATAL', 'PANIC'] },
] as const;

const perPage = 100;

interface ClassRow {
  name: string;
  severity: string;
  sqlstate: string;
  entries: number;
  leftOut: number;
  duration: number;
}

const words = (name: string): string => name.replaceAll('_', ' ');

// Over databases.
function byClass(rows: readonly MetricRow[]): ClassRow[] {
  const found = new Map<string, ClassRow>();
  for (const row of rows) {
    const entries = figure(row, 'entries') ?? 0;
    if (entries === 0) continue;
    const [name, severity, sqlstate] = [label(row, 'class'), label(row, 'severity'), label(row, 'sqlstate')];
    const key = `${name} ${severity} ${sqlstate}`;
    const sum = found.get(key) ?? { name, severity, sqlstate, entries: 0, leftOut: 0, duration: 0 };
    sum.entries += entries;
    sum.leftOut += figure(row, 'left_out') ?? 0;
    sum.duration += figure(row, 'duration_us') ?? 0;
    found.set(key, sum);
  }
  return [...found.values()];
}

function Severity({ name }: { name: string }) {
  const tone = ['ERROR', 'FATAL', 'PANIC'].includes(name) ? 'bad-text' : name === 'WARNING' ? 'warn-text' : '';
  return <span class={tone}>{name}</span>;
}

const rest = ['detail', 'hint', 'context'] as const;

// What stands below the message, where it has any.
function Texts({ event, source }: { event: LogEvent; source: string }) {
  const cut = (name: string) => event.truncated.includes(name);
  return (
    <>
      <div>{cutText(event.message, cut('message')) || event.object || words(event.class)}</div>
      {rest
        .filter((name) => event[name])
        .map((name) => (
          <div key={name} class="note">
            {name}: {cutText(event[name], cut(name))}
          </div>
        ))}
      {(event.statement || event.query_id) && (
        <div class="note">
          {event.query_id ? (
            <a href={statementHref(source, event.query_id)}>
              {event.statement ? <Sql text={event.statement} truncated={cut('statement')} /> : event.query_id}
            </a>
          ) : (
            <Sql text={event.statement} truncated={cut('statement')} />
          )}
        </div>
      )}
    </>
  );
}

// Why there is no log, with what turns it on.
function NoLog({ source }: { source: Source }) {
  const off = source.not_collected.find((part) => part.what === 'log');
  if (!off) return <Empty title="No entries in this range.">Ask for a longer range above, or take out a filter.</Empty>;
  return <Empty title={`The log of ${source.name} is not read.`}>{off.reason}</Empty>;
}

export function LogsTab({ page, source, name, readings }: TabProps) {
  const { view, range, zone } = page;
  const chosen = choices.find((one) => one.key === view.query.get('severity'));
  const class_ = view.query.get('class') ?? '';
  const text = view.query.get('text') ?? '';
  const older = view.query.get('older') ?? '';
  const countsAsk = ask.rows(range, {
    metric: 'log_counts',
    column: ['entries', 'left_out', 'duration_us'],
    source: [name],
    limit: 10_000,
  });
  const eventsAsk = ask.logEvents(range, {
    source: [name],
    ...(chosen ? { severity: [...chosen.severities] } : {}),
    ...(class_ ? { class: [class_] } : {}),
    ...(text ? { text } : {}),
    ...(older ? { page: older } : {}),
    limit: perPage,
  });
  const counts = useAsk(countsAsk, view.now);
  const events = useAsk(eventsAsk, view.now);
  const classes = byClass(counts.data?.rows ?? []);
  const shown = chosen
    ? classes.filter((row) => (chosen.severities as readonly string[]).includes(row.severity))
    : classes;
  const all = classes.reduce((sum, row) => sum + row.entries, 0);
  const leftOut = classes.reduce((sum, row) => sum + row.leftOut, 0);
  const rows = events.data?.events ?? [];
  const classColumns: Column<ClassRow>[] = [
    {
      key: 'class',
      title: 'Class',
      class: 'grow',
      value: (row) => row.name,
      cell: (row) => (
        <button type="button" class="link" onClick={() => change({ class: row.name, older: undefined })}>
          {words(row.name)}
        </button>
      ),
    },
    {
      key: 'severity',
      title: 'Severity',
      value: (row) => row.severity,
      cell: (row) => <Severity name={row.severity} />,
    },
    { key: 'sqlstate', title: 'SQLSTATE', class: 'mono', value: (row) => row.sqlstate },
    {
      key: 'entries',
      title: 'Entries',
      numeric: true,
      value: (row) => row.entries,
      cell: (row) => count(row.entries),
    },
    {
      key: 'left_out',
      title: 'Not kept',
      numeric: true,
      hint: 'Entries that are counted and not among those below, because there were too many',
      value: (row) => row.leftOut,
      cell: (row) => count(row.leftOut),
    },
    {
      key: 'duration',
      title: 'Durations',
      numeric: true,
      wide: true,
      hint: 'Durations in the messages, added up',
      value: (row) => row.duration,
      cell: (row) => (row.duration > 0 ? withUnit(row.duration, 'us') : ''),
    },
  ];
  const eventColumns: Column<LogEvent>[] = [
    {
      key: 'time',
      title: 'Written',
      value: (row) => row.time ?? '',
      cell: (row) => <span class="nowrap">{dateTime(Date.parse(row.time ?? ''), zone)}</span>,
    },
    {
      key: 'severity',
      title: 'Severity',
      value: (row) => row.severity,
      cell: (row) => <Severity name={row.severity} />,
    },
    {
      key: 'class',
      title: 'Class',
      value: (row) => row.class,
      cell: (row) => (
        <span title={row.sqlstate && `SQLSTATE ${row.sqlstate}`}>
          {words(row.class)}
          {row.duration_ms !== undefined && <div class="note">{withUnit(row.duration_ms * 1000, 'us')}</div>}
          {row.bytes !== undefined && <div class="note">{withUnit(row.bytes, 'bytes')}</div>}
        </span>
      ),
    },
    {
      key: 'message',
      title: 'Message',
      class: 'grow',
      value: (row) => cutText(row.message, row.truncated.includes('message')),
      cell: (row) => <Texts event={row} source={name} />,
    },
    { key: 'database', title: 'Database', wide: true, value: (row) => row.database_name },
    {
      key: 'user',
      title: 'User',
      wide: true,
      value: (row) => row.user_name,
      cell: (row) => (
        <span title={[row.application_name, row.client, row.backend_type].filter(Boolean).join(', ')}>
          {row.user_name}
        </span>
      ),
    },
    { key: 'pid', title: 'Process', numeric: true, wide: true, value: (row) => row.pid || null },
  ];
  return (
    <>
      <LineChart
        page={page}
        title="Log entries"
        unit="entries/s"
        kind="area"
        step={readings.step(120, 'log_files')}
        height={160}
        empty="No entries in this range."
        parts={[
          {
            label: 'entries',
            question: {
              metric: 'log_counts',
              column: 'entries',
              source: [name],
              groupBy: ['severity'],
              rate: true,
              ...(class_ ? { filter: [`class=${class_}`] } : {}),
            },
            nameOf: (series) => series.labels.severity || 'unknown',
            colorOf: (series) => severities.find((one) => one.key === series.labels.severity)?.color,
            orderOf: (series) => severities.findIndex((one) => one.key === series.labels.severity),
          },
        ]}
      />
      <TablePanel
        title="Classes"
        note={
          counts.data && `${count(all)} entries${leftOut > 0 ? `, ${count(leftOut)} of them counted and not kept` : ''}`
        }
        asks={[countsAsk]}
        answers={[counts]}
        columns={classColumns}
        rows={shown}
        rowKey={(row) => `${row.name} ${row.severity} ${row.sqlstate}`}
        sort="-entries"
        most={15}
        empty={<NoLog source={source} />}
      />
      <TablePanel
        title="Entries"
        note={
          events.data &&
          (events.data.texts_hidden
            ? 'texts are for those who may read statement texts'
            : 'newest first; ? stands for what is not kept')
        }
        tools={
          <>
            <label>
              <span class="note">severity </span>
              <select
                value={chosen?.key ?? ''}
                onChange={(event) => change({ severity: event.currentTarget.value, older: undefined }, 'replace')}
              >
                <option value="">all</option>
                {choices.map((one) => (
                  <option key={one.key} value={one.key}>
                    {one.title}
                  </option>
                ))}
              </select>
            </label>
            {!events.data?.texts_hidden && (
              <input
                type="search"
                aria-label="Part of a text"
                placeholder="Part of a text"
                value={text}
                maxLength={200}
                onChange={(event) => change({ text: event.currentTarget.value, older: undefined }, 'replace')}
              />
            )}
            {class_ && (
              <button type="button" onClick={() => change({ class: undefined, older: undefined })}>
                {words(class_)} ×
              </button>
            )}
          </>
        }
        asks={[eventsAsk]}
        answers={[events]}
        columns={eventColumns}
        rows={rows}
        rowKey={(row) => JSON.stringify(row)}
        sort="-time"
        tableKey={`${chosen?.key} ${class_} ${text} ${older}`}
        empty={<NoLog source={source} />}
        foot={
          (older || events.data?.next_page) && (
            <p>
              {older && (
                <button type="button" onClick={() => change({ older: undefined })}>
                  Newest
                </button>
              )}{' '}
              {events.data?.next_page && (
                <button type="button" onClick={() => change({ older: events.data?.next_page })}>
                  Older
                </button>
              )}
            </p>
          )
        }
      />
    </>
  );
}
