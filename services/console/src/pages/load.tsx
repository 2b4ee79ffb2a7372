// Load: active sessions by what they waited for, and the statements of the same span. Asks: activity by the chosen slice,
// transactions, WAL, changed settings, processors of the host (where it is the server's), top statements.

import { useRef } from 'preact/hooks';
import * as ask from '../api/asks.ts';
import type { Series } from '../api/generated.ts';
import { Chart, type Line } from '../charts/chart.tsx';
import { colorAt, idleInTransaction, otherColor, waitClass } from '../charts/colors.ts';
import { covered, keepLargest, stepOf, toColumns } from '../charts/gaps.ts';
import { useSources } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { percent, settingText } from '../state/units.ts';
import { change, setRange } from '../state/url.ts';
import { Choice } from '../ui/choice.tsx';
import { chartData, Panel } from '../ui/panel.tsx';
import { oneLine } from '../ui/sqltext.ts';
import { Empty } from '../ui/states.tsx';
import { LineChart } from './linechart.tsx';
import type { TabProps } from './source.tsx';
import { StatementsPanel } from './statements.tsx';

const slices = [
  { key: 'wait_event_type', title: 'wait class', labels: ['state', 'wait_event_type'] },
  { key: 'wait_event', title: 'wait event', labels: ['wait_event_type', 'wait_event'] },
  { key: 'query_id', title: 'statement', labels: ['query_id'] },
  { key: 'usename', title: 'user', labels: ['usename'] },
  { key: 'application_name', title: 'application', labels: ['application_name'] },
  { key: 'datname', title: 'database', labels: ['datname'] },
  { key: 'backend_type', title: 'kind of process', labels: ['backend_type'] },
] as const;

// Sessions that work or hold something: the same in every slice, so that slices add up to one whole.
const working = 'state~^(active|idle in transaction.*)$';
const shownLines = 10;

const isIdleIn = (series: Series) => (series.labels.state ?? '').startsWith(idleInTransaction);

export function LoadTab({ page, source, name, readings }: TabProps) {
  const { view, range, zone } = page;
  const canvas = useRef<HTMLCanvasElement | null>(null);
  const by = slices.find((slice) => slice.key === view.query.get('by')) ?? slices[0];
  const filters = view.query.getAll('filter');
  const step = readings.step(120);
  const loadAsk =
    step === undefined
      ? undefined
      : ask.series(range, {
          metric: 'activity',
          column: 'sessions_avg',
          source: [name],
          filter: [working, 'wait_event_type!=Activity', ...filters],
          groupBy: [...by.labels],
          step,
          limit: 1000,
        });
  const load = useAsk(loadAsk, view.now);
  const texts = useAsk(by.key === 'query_id' ? ask.top(range, { source: [name], limit: 200 }) : undefined, view.now);
  const sources = useSources().data?.sources ?? [];
  const host = sources.find((one) => one.kind === 'host' && one.collector_id === source.collector_id);
  const isLocal = /^(127\.0\.0\.1|localhost|\[?::1\]?|\/)/.test(source.address);
  const cpus = useAsk(
    host && isLocal && step
      ? ask.series(range, {
          metric: 'host_cpu',
          column: 'cpus',
          source: [host.id],
          aggregate: 'last',
          groupBy: ['none'],
          step,
        })
      : undefined,
    view.now,
  );
  const settingsAsk = ask.stateOf(range, {
    metric: 'settings',
    source: [name],
    column: ['setting_value', 'setting_unit'],
    limit: 1000,
  });
  const settings = useAsk(settingsAsk, view.now);
  const changes = (settings.data?.changes ?? []).filter((one) => one.what === 'changed');
  const unitOf = (name: string | undefined) =>
    settings.data?.rows.find((row) => row.labels.setting_name === name)?.values.setting_unit ?? '';

  const series = load.data ?? [];
  const columns = toColumns(series, load.data ? stepOf(series, step ?? 60) : (step ?? 60), range);
  const lines = linesOf(
    series,
    columns,
    by,
    (id) => texts.data?.queries.find((query) => query.query_id === id)?.query_text,
  );
  const processors = cpus.data?.[0]?.points.findLast((point) => point.value !== undefined)?.value;
  const known = covered(columns, range);

  return (
    <>
      <Panel
        title="Load"
        note={load.data && `active sessions on average · ${percent(known)} covered`}
        asks={[loadAsk]}
        data={() => chartData(columns, lines, 'sessions')}
        canvas={canvas}
        error={load.error}
        loading={load.loading}
        skeleton={load.data ? undefined : 280}
        tools={
          <>
            {filters.map((filter) => (
              <button
                key={filter}
                type="button"
                class="chip"
                onClick={() => change({ filter: filters.filter((one) => one !== filter) })}
              >
                {filter} ✕
              </button>
            ))}
            <Choice
              label="by"
              value={by.key}
              options={slices}
              onChoose={(key) => change({ by: key === slices[0].key ? undefined : key })}
            />
          </>
        }
      >
        {known === 0 ? (
          <Empty title="Nothing was sampled in this range.">
            {source.last_seen
              ? 'Choose a range in which the source was watched.'
              : 'Its collector has not sent anything yet.'}{' '}
            <code>pgactl freshness --source {name}</code> says what there is.
          </Empty>
        ) : (
          <Chart
            title={`Load of ${source.name}`}
            kind="area"
            columns={columns}
            lines={lines}
            unit="sessions"
            range={range}
            zone={zone}
            height={280}
            legend="side"
            sync="load"
            level={processors ? { value: processors, label: `${processors} processors` } : undefined}
            markers={changes.map((one) => ({
              at: Date.parse(one.seen_after ?? ''),
              label: one.labels.setting_name ?? '',
            }))}
            onZoom={setRange}
            onCanvas={(drawn) => {
              canvas.current = drawn;
            }}
          />
        )}
        {changes.length > 0 && (
          <p class="note changes">
            Changed in this range, marked above:{' '}
            {changes.slice(0, 6).map((one) => (
              <span key={(one.labels.setting_name ?? '') + one.seen_after}>
                {one.labels.setting_name} {settingText(one.before, unitOf(one.labels.setting_name))} →{' '}
                {settingText(one.after, unitOf(one.labels.setting_name))}
              </span>
            ))}
            {changes.length > 6 && <span>and {changes.length - 6} more</span>}
          </p>
        )}
      </Panel>
      {source.kind !== 'host' && (
        <>
          <StatementsPanel page={page} name={name} title="Top statements of this span" limit={10} compact />
          <div class="grid">
            <LineChart
              page={page}
              title="Transactions"
              unit="/s"
              sync="load"
              step={step}
              parts={[
                {
                  label: 'committed',
                  question: {
                    metric: 'database',
                    column: 'xact_commit',
                    source: [name],
                    groupBy: ['none'],
                    rate: true,
                  },
                },
                {
                  label: 'rolled back',
                  question: {
                    metric: 'database',
                    column: 'xact_rollback',
                    source: [name],
                    groupBy: ['none'],
                    rate: true,
                  },
                },
              ]}
            />
            <LineChart
              page={page}
              title="WAL written"
              unit="bytes/s"
              sync="load"
              step={step}
              parts={[
                {
                  label: 'WAL',
                  question: { metric: 'wal', column: 'wal_bytes', source: [name], groupBy: ['none'], rate: true },
                },
              ]}
            />
          </div>
        </>
      )}
    </>
  );
}

type Columns = ReturnType<typeof toColumns>;

function linesOf(
  series: readonly Series[],
  columns: Columns,
  by: (typeof slices)[number],
  textOf: (id: string) => string | undefined,
): Line[] {
  const pick = (label: string, value: string) => () =>
    change({ filter: [...new URLSearchParams(location.search).getAll('filter'), `${label}=${value}`] });
  if (by.key === 'wait_event_type') {
    const sums = new Map<string, (number | null)[]>();
    series.forEach((one, i) => {
      const key = isIdleIn(one) ? idleInTransaction : (one.labels.wait_event_type ?? '');
      const row = columns.values[i] ?? [];
      const sum = sums.get(key);
      sums.set(
        key,
        sum ? sum.map((value, j) => (value === null && row[j] === null ? null : (value ?? 0) + (row[j] ?? 0))) : row,
      );
    });
    return [...sums]
      .filter(([, values]) => values.some((value) => value !== null && value > 0))
      .map(([key, values]) => ({ ...waitClass(key), values }))
      .sort((a, b) => a.order - b.order)
      .map(({ key, name, color, values }) => ({
        label: name,
        color,
        values,
        onPick: key === idleInTransaction ? pick('state', idleInTransaction) : pick('wait_event_type', key),
      }));
  }
  const { kept, other, others } = keepLargest(
    series.map((of, i) => ({ of, row: columns.values[i] ?? [] })),
    columns.coverage,
    shownLines,
  );
  const lines = kept
    .filter(({ row }) => row.some((value) => value !== null && value > 0))
    .map(({ of, row }, i): Line => {
      if (by.key === 'wait_event') {
        const type = of.labels.wait_event_type ?? '';
        const label = type === '' ? 'CPU' : `${type}: ${of.labels.wait_event}`;
        return { label, color: colorAt(i), values: row, onPick: pick('wait_event', of.labels.wait_event ?? '') };
      }
      const value = of.labels[by.key] ?? '';
      const label =
        by.key === 'query_id' ? (value ? oneLine(textOf(value) ?? value).slice(0, 80) : 'not known') : value || 'none';
      return { label, color: colorAt(i), values: row, onPick: value ? pick(by.key, value) : undefined };
    });
  return other ? [...lines, { label: `${others} others`, color: otherColor, values: other }] : lines;
}
