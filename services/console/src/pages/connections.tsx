// Connections: how many of those there may be, and whose. Asks: sessions over time, the settings that bound them, who is
// connected at the end of the range.

import * as ask from '../api/asks.ts';
import type { MetricRow } from '../api/generated.ts';
import { useAsk } from '../state/query.ts';
import { figure, label } from '../state/rows.ts';
import { dateTime } from '../state/time.ts';
import { count, percent, withUnit } from '../state/units.ts';
import { change } from '../state/url.ts';
import { Choice } from '../ui/choice.tsx';
import { Share } from '../ui/marks.tsx';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
import { LineChart } from './linechart.tsx';
import type { TabProps } from './source.tsx';

const slices = [
  { key: 'application_name', title: 'application' },
  { key: 'usename', title: 'user' },
  { key: 'datname', title: 'database' },
  { key: 'client_addr', title: 'address' },
] as const;

interface Row {
  name: string;
  sessions: number;
  encrypted: number;
  oldest: number;
}

function joined(rows: readonly MetricRow[], by: string): Row[] {
  const found = new Map<string, Row>();
  for (const row of rows) {
    const name = label(row, by);
    const sum = found.get(name) ?? { name, sessions: 0, encrypted: 0, oldest: 0 };
    const sessions = figure(row, 'sessions') ?? 0;
    sum.sessions += sessions;
    if (label(row, 'is_ssl') === 'true' || label(row, 'is_gss_encrypted') === 'true') sum.encrypted += sessions;
    sum.oldest = Math.max(sum.oldest, figure(row, 'oldest_age_us') ?? 0);
    found.set(name, sum);
  }
  return [...found.values()];
}

export function ConnectionsTab({ page, name, readings }: TabProps) {
  const { view, range, zone } = page;
  const by = slices.find((slice) => slice.key === view.query.get('slice')) ?? slices[0];
  const question = ask.rows(range, { metric: 'connections', source: [name], limit: 10_000 });
  const settingsAsk = ask.stateOf(range, {
    metric: 'settings',
    source: [name],
    filter: ['setting_name~^(max_connections|superuser_reserved_connections|reserved_connections)$'],
    column: ['setting_value'],
  });
  const answer = useAsk(question, view.now);
  const settings = useAsk(settingsAsk, view.now);
  const setting = (wanted: string) =>
    Number(settings.data?.rows.find((row) => row.labels.setting_name === wanted)?.values.setting_value ?? Number.NaN);
  const most = setting('max_connections');
  const reserved = (setting('superuser_reserved_connections') || 0) + (setting('reserved_connections') || 0);
  const rows = joined(answer.data?.rows ?? [], by.key);
  const all = rows.reduce((sum, row) => sum + row.sessions, 0);
  const at = answer.data?.rows[0]?.collected_at;
  const columns: Column<Row>[] = [
    {
      key: 'name',
      title: by.title.replace(/^./, (first) => first.toUpperCase()),
      class: 'grow',
      value: (row) => row.name || (by.key === 'client_addr' ? 'local socket' : 'none'),
    },
    {
      key: 'sessions',
      title: 'Sessions',
      numeric: true,
      value: (row) => row.sessions,
      cell: (row) => <Share share={all > 0 ? row.sessions / all : 0} text={count(row.sessions)} />,
    },
    {
      key: 'encrypted',
      title: 'Encrypted',
      numeric: true,
      value: (row) => row.encrypted,
      cell: (row) => `${count(row.encrypted)} of ${count(row.sessions)}`,
    },
    {
      key: 'oldest',
      title: 'Oldest',
      numeric: true,
      hint: 'Age of the oldest session among them',
      value: (row) => row.oldest,
      cell: (row) => withUnit(row.oldest, 'us'),
    },
  ];
  return (
    <>
      <LineChart
        page={page}
        title="Connections"
        unit="sessions"
        kind="area"
        step={readings.step(120, 'database')}
        height={180}
        {...(Number.isNaN(most)
          ? {}
          : { level: { value: most - reserved, label: `${count(most - reserved)} may connect` } })}
        parts={[
          {
            label: 'sessions',
            question: { metric: 'database', column: 'numbackends', source: [name], groupBy: ['datname'] },
            nameOf: (series) => series.labels.datname || 'shared objects',
          },
        ]}
      />
      <TablePanel
        title="Who is connected"
        note={
          answer.data && (
            <>
              {count(all)} sessions{at && ` at ${dateTime(Date.parse(at), zone)}`}
              {!Number.isNaN(most) &&
                `, ${percent(all / most)} of max_connections (${count(most)}, of them ${count(reserved)} kept for superusers)`}
            </>
          )
        }
        tools={
          <Choice
            label="by"
            value={by.key}
            options={slices}
            onChoose={(key) => change({ slice: key === slices[0].key ? undefined : key }, 'replace')}
          />
        }
        asks={[question, settingsAsk]}
        answers={[answer, settings]}
        columns={columns}
        rows={rows}
        rowKey={(row) => row.name}
        sort="-sessions"
        tableKey={by.key}
        empty={<Empty title="Connections were not read in the 25 hours before the end of the range." />}
      />
    </>
  );
}
