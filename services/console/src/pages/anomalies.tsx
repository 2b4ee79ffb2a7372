// Hours of statements that were far from the rule, and that nobody has looked at. Asks: anomalies.

import { useState } from 'preact/hooks';
import * as ask from '../api/asks.ts';
import * as api from '../api/generated.ts';
import { currentUser } from '../api/session.ts';
import type { Page } from '../state/page.ts';
import { sourceHref, statementHref } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { useRun } from '../state/run.ts';
import { dateTime } from '../state/time.ts';
import { number, withUnit } from '../state/units.ts';
import { change, hrefTo } from '../state/url.ts';
import { Choice } from '../ui/choice.tsx';
import { Empty, ErrorState } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';

const severities = ['high', 'medium', 'low'] as const;
const what: Record<string, string> = {
  execution_time_spike: 'takes longer',
  call_rate_spike: 'is called more often',
  cache_degradation: 'reads more blocks',
  io_increase: 'waits longer for I/O',
};
const units: Record<string, string> = { mean_time: 'ms', calls: 'calls/s', blocks_read: 'blocks', io_time: 'ms' };
const hourMs = 3_600_000;

export function AnomaliesPage({ page }: { page: Page }) {
  const { view, zone } = page;
  const chosen = view.query.get('severity') ?? '';
  const severity = severities.find((one) => one === chosen) ?? 'high';
  const question = ask.anomalies(severity);
  const answer = useAsk(question, view.now);
  const [problem, run] = useRun();
  const [said, say] = useState('');
  const mayChange = currentUser()?.role !== 'viewer';
  const figure = (row: api.QueryAnomaly, value: number) => withUnit(value, units[row.metric_name] ?? '');
  const columns: Column<api.QueryAnomaly>[] = [
    {
      key: 'hour',
      title: 'Hour',
      value: (row) => row.hour_start ?? '',
      cell: (row) => {
        const at = Date.parse(row.hour_start ?? '');
        const around = { from: new Date(at - hourMs).toISOString(), to: new Date(at + 2 * hourMs).toISOString() };
        return (
          <a class="nowrap" href={hrefTo(`/s/${encodeURIComponent(row.source_id)}/q/${row.query_hash}`, around)}>
            {dateTime(at, zone)}
          </a>
        );
      },
    },
    {
      key: 'source',
      title: 'Source',
      value: (row) => row.source_name,
      cell: (row) => <a href={sourceHref(row.source_id)}>{row.source_name}</a>,
    },
    {
      key: 'statement',
      title: 'Statement',
      value: (row) => row.query_hash,
      cell: (row) => <a href={statementHref(row.source_id, row.query_hash)}>{row.query_hash}</a>,
    },
    { key: 'database', title: 'Database', wide: true, value: (row) => row.database_name },
    {
      key: 'what',
      title: 'It',
      class: 'grow',
      value: (row) => what[row.anomaly_type] ?? row.anomaly_type,
    },
    {
      key: 'value',
      title: 'Was',
      numeric: true,
      value: (row) => row.metric_value,
      cell: (row) => figure(row, row.metric_value),
    },
    {
      key: 'baseline',
      title: 'As a rule',
      numeric: true,
      hint: 'Median of the same hours of the week, or of the day, in the four weeks before',
      value: (row) => row.baseline_value,
      cell: (row) => `${figure(row, row.baseline_value)} (${row.baseline_hours})`,
    },
    {
      key: 'z',
      title: 'z',
      numeric: true,
      hint: 'Distance from the median in robust standard deviations',
      value: (row) => row.z_score,
      cell: (row) => number(row.z_score),
    },
  ];
  if (mayChange) {
    columns.push({
      key: 'do',
      title: '',
      value: () => '',
      cell: (row) => (
        <button type="button" onClick={() => void run(() => api.resolveAnomaly({ id: row.id }))}>
          Resolve
        </button>
      ),
    });
  }
  return (
    <>
      <div class="head">
        <h1>Anomalies</h1>
        <p class="facts">
          <span>hours of statements that are far from what that hour is as a rule</span>
        </p>
      </div>
      {problem && <ErrorState error={problem} />}
      <TablePanel
        title="Anomalies"
        note={said}
        tools={
          <>
            <Choice
              label="severity"
              value={severity}
              options={severities.map((key) => ({ key, title: key }))}
              onChoose={(key) => change({ severity: key === 'high' ? undefined : key })}
            />
            {mayChange && (
              <button
                type="button"
                onClick={() =>
                  void run(async () => {
                    const found = await api.detectAnomalies({});
                    say(`${found.message}: ${found.found} found, ${found.added} of them new`);
                  })
                }
              >
                Look at the last hour
              </button>
            )}
          </>
        }
        asks={[question]}
        answers={[answer]}
        columns={columns}
        rows={answer.data?.anomalies ?? []}
        rowKey={(row) => String(row.id)}
        sort="-hour"
        most={100}
        empty={
          <Empty title={`No anomaly of severity ${severity} is open.`}>
            <code>pgactl anomalies detect</code>, run each hour from a timer, looks for them.
          </Empty>
        }
      />
    </>
  );
}
