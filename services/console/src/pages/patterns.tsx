// What recurs in the load of databases: hours of the day and days of the week. Asks: workload patterns.

import * as ask from '../api/asks.ts';
import type { WorkloadPattern } from '../api/generated.ts';
import { type Page, sourceHref } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { zoneName } from '../state/time.ts';
import { number, percent, withUnit } from '../state/units.ts';
import { change } from '../state/url.ts';
import { Choice } from '../ui/choice.tsx';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';

const types = [
  { key: '', title: 'all' },
  { key: 'hourly_peak', title: 'busy hours' },
  { key: 'hourly_quiet', title: 'quiet hours' },
  { key: 'weekday_peak', title: 'busy days' },
  { key: 'weekday_quiet', title: 'quiet days' },
] as const;
const words: Record<string, string> = {
  hourly_peak: 'busy',
  weekday_peak: 'busy',
  hourly_quiet: 'quiet',
  weekday_quiet: 'quiet',
};

const columns: Column<WorkloadPattern>[] = [
  {
    key: 'source',
    title: 'Source',
    value: (row) => row.source_name,
    cell: (row) => <a href={sourceHref(row.source_id)}>{row.source_name}</a>,
  },
  { key: 'database', title: 'Database', value: (row) => row.database_name },
  {
    key: 'when',
    title: 'When',
    class: 'grow',
    value: (row) => row.when,
    cell: (row) => (
      <span class="strong">{row.pattern_type.startsWith('hourly') ? `each day ${row.when}` : `each ${row.when}`}</span>
    ),
  },
  { key: 'what', title: 'It is', value: (row) => words[row.pattern_type] ?? row.pattern_type },
  {
    key: 'load',
    title: 'Load',
    numeric: true,
    hint: 'Median of the time of statements in each second',
    value: (row) => row.load,
    cell: (row) => withUnit(row.load, 's/s'),
  },
  {
    key: 'mean',
    title: 'As a rule',
    numeric: true,
    hint: 'Mean over all hours of the day, or days of the week',
    value: (row) => row.mean_load,
    cell: (row) => withUnit(row.mean_load, 's/s'),
  },
  {
    key: 'z',
    title: 'z',
    numeric: true,
    hint: 'Distance from the mean in standard deviations',
    value: (row) => Math.abs(row.z_score),
    cell: (row) => number(row.z_score),
  },
  {
    key: 'seen',
    title: 'Seen on',
    numeric: true,
    value: (row) => row.confidence,
    cell: (row) => `${row.days_seen} of ${row.days} days`,
  },
];

export function PatternsPage({ page }: { page: Page }) {
  const { view, zone } = page;
  const chosen = types.find((one) => one.key === view.query.get('type')) ?? types[0];
  const timeZone = zone === 'utc' ? 'UTC' : Intl.DateTimeFormat().resolvedOptions().timeZone;
  const question = ask.patterns(chosen.key, timeZone);
  const answer = useAsk(question, view.now);
  const first = answer.data?.[0];
  return (
    <>
      <div class="head">
        <h1>Patterns</h1>
        <p class="facts">
          <span>of the 30 days before now, hours in {zoneName(zone)}</span>
        </p>
      </div>
      <TablePanel
        title="Patterns"
        note={first && `${percent(first.completeness)} covered`}
        tools={
          <Choice
            label="show"
            value={chosen.key}
            options={types}
            onChoose={(key) => change({ type: key === '' ? undefined : key })}
          />
        }
        asks={[question]}
        answers={[answer]}
        columns={columns}
        rows={answer.data ?? []}
        rowKey={(row) => `${row.source_id} ${row.database_name} ${row.pattern_type} ${row.when}`}
        sort="-z"
        most={100}
        empty={
          <Empty title="Nothing recurs that differs from the other hours or days.">
            Hours take seven days of history, days three weeks.
          </Empty>
        }
      />
    </>
  );
}
