// Every source, the worst first. Asks: sources (the frame's), the load of all in one question.

import { useState } from 'preact/hooks';
import * as ask from '../api/asks.ts';
import type { Source } from '../api/generated.ts';
import { average, covered, toColumns } from '../charts/gaps.ts';
import { Spark } from '../charts/spark.tsx';
import { broken, collectorHref, type Page, refOf, sourceHref, useSources } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { dateTime, duration, stepFor } from '../state/time.ts';
import { number, percent, serverVersion } from '../state/units.ts';
import { change, hrefTo } from '../state/url.ts';
import { State, severity } from '../ui/marks.tsx';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';

interface Row {
  source: Source;
  ref: string;
  load: number | null;
  values: (number | null)[];
  covered: number | undefined;
}

export function FleetPage({ page }: { page: Page }) {
  const { view, range, zone } = page;
  const sources = useSources();
  const wanted = view.query.get('source') ?? '';
  const hosts = view.query.get('hosts') === '1';
  const [text, setText] = useState(wanted);
  const loadAsk = ask.series(range, {
    metric: 'activity',
    column: 'sessions_avg',
    filter: ['state=active', 'wait_event_type!=Activity'],
    groupBy: ['source'],
    step: stepFor(range, 60, 60),
    limit: 1000,
  });
  const load = useAsk(loadAsk, view.now);
  const alerts = useAsk(ask.alerts('active'), view.now);
  const all = sources.data?.sources ?? [];
  const loads = new Map((load.data ?? []).map((series) => [series.source_id, series]));
  const rows: Row[] = all
    .filter((source) => hosts || source.kind !== 'host')
    .filter((source) => matches(source, wanted))
    .map((source) => {
      const series = loads.get(source.id);
      const columns = toColumns(series ? [series] : [], stepFor(range, 60, 60), range);
      return {
        source,
        ref: refOf(source, all),
        values: columns.values[0] ?? [],
        load: columns.values[0] ? average(columns.values[0], columns.coverage) : null,
        covered: load.data ? covered(columns, range) : undefined,
      };
    })
    .sort(
      (a, b) =>
        (severity[a.source.state] ?? 0) - (severity[b.source.state] ?? 0) ||
        (b.load ?? -1) - (a.load ?? -1) ||
        a.source.name.localeCompare(b.source.name),
    );
  const columns: Column<Row>[] = [
    {
      key: 'state',
      title: 'State',
      value: (row) => severity[row.source.state] ?? 0,
      cell: (row) => (
        <span title={`${row.source.state} since ${dateTime(Date.parse(row.source.since ?? ''), zone)}`}>
          <State state={row.source.state} />
        </span>
      ),
    },
    {
      key: 'source',
      title: 'Source',
      value: (row) => row.source.name,
      class: 'grow',
      cell: (row) => (
        <div>
          <a href={sourceHref(row.ref)} class="strong">
            {row.source.name}
          </a>
          {row.source.group !== 'default' && <span class="note"> {row.source.group}</span>}
          <Trouble source={row.source} now={view.now} />
        </div>
      ),
    },
    {
      key: 'load',
      title: 'Load',
      numeric: true,
      hint: 'Active sessions on average over the known part of the range',
      value: (row) => row.load,
      cell: (row) => (row.source.kind === 'host' ? '' : row.load === null ? 'unknown' : number(row.load)),
    },
    {
      key: 'load_over_time',
      title: 'over time',
      value: (row) => row.load,
      cell: (row) =>
        row.source.kind !== 'host' && (
          <Spark
            values={row.values}
            label={row.load === null ? 'Load not known' : `Load, ${number(row.load)} on average`}
          />
        ),
    },
    {
      key: 'covered',
      title: 'Covered',
      numeric: true,
      wide: true,
      hint: 'Part of the range in which sessions were sampled',
      value: (row) => row.covered ?? null,
      cell: (row) => (row.source.kind === 'host' || row.covered === undefined ? '' : percent(row.covered)),
    },
    { key: 'role', title: 'Role', wide: true, value: (row) => row.source.role },
    {
      key: 'version',
      title: 'Version',
      numeric: true,
      wide: true,
      value: (row) => row.source.server_version_num,
      cell: (row) => serverVersion(row.source.server_version_num),
    },
    {
      key: 'collector',
      title: 'Collector',
      wide: true,
      value: (row) => row.source.collector_id,
      cell: (row) => <a href={collectorHref(row.source.collector_id)}>{row.source.collector_id}</a>,
    },
    {
      key: 'last_seen',
      title: 'Seen',
      numeric: true,
      wide: true,
      value: (row) => row.source.last_seen ?? null,
      cell: (row) =>
        row.source.last_seen ? `${duration(Math.max(view.now - Date.parse(row.source.last_seen), 0))} ago` : 'never',
    },
  ];
  const counts = Object.entries(Object.groupBy(rows, (row) => row.source.state)).map(
    ([state, some]) => [state, some?.length ?? 0] as const,
  );
  return (
    <>
      <div class="head">
        <h1>Fleet</h1>
        <p class="facts">
          {counts
            .sort((a, b) => (severity[a[0]] ?? 0) - (severity[b[0]] ?? 0))
            .map(([state, many]) => (
              <span key={state}>
                <State state={state} /> {many}
              </span>
            ))}
          {alerts.data && (
            <a href={hrefTo('/alerts')}>
              {alerts.data.firing === 1 ? '1 alert fires' : `${alerts.data.firing} alerts fire`}
            </a>
          )}
        </p>
        <span class="space" />
        <input
          type="search"
          placeholder="name, group, version"
          aria-label="Filter sources"
          value={text}
          onInput={(event) => {
            setText(event.currentTarget.value);
            change({ source: event.currentTarget.value }, 'replace');
          }}
        />
        <label class="check">
          <input
            type="checkbox"
            checked={hosts}
            onChange={(event) => change({ hosts: event.currentTarget.checked ? '1' : undefined }, 'replace')}
          />
          hosts too
        </label>
      </div>
      <TablePanel
        title="Sources"
        note={`${rows.length} of ${all.length}`}
        asks={[ask.sources(), loadAsk]}
        answers={[sources, load]}
        columns={columns}
        rows={rows}
        rowKey={(row) => row.source.id}
        sort=""
        skeleton={240}
        empty={
          all.length > 0 ? (
            <Empty title="No source matches the filter." />
          ) : (
            <Empty title="No source yet.">
              A collector brings its sources. Make a secret with <code>pgactl secrets create NAME</code>, then start{' '}
              <code>pganalytics-collector</code> beside the server; its <code>--check</code> says what the server lacks.
            </Empty>
          )
        }
      />
    </>
  );
}

function matches(source: Source, wanted: string): boolean {
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  const text = [
    source.name,
    source.group,
    source.address,
    source.role,
    source.state,
    serverVersion(source.server_version_num),
    source.collector_id,
  ]
    .join(' ')
    .toLowerCase();
  return words.every((word) => text.includes(word));
}

// Why a source is not up, or what of it is not collected.
function Trouble({ source, now }: { source: Source; now: number }) {
  if (source.state === 'down') return <div class="trouble">{source.message || 'Its collector cannot reach it.'}</div>;
  if (source.state === 'silent') {
    const age = source.last_seen ? duration(now - Date.parse(source.last_seen)) : '';
    return (
      <div class="trouble">
        Collector {source.collector_id} says nothing{age && `, last heard of it ${age} ago`}.
      </div>
    );
  }
  const parts = broken(source);
  const first = parts[0];
  if (!first) return null;
  return (
    <div class="trouble" title={parts.map((part) => `${part.what}: ${part.reason}`).join('\n')}>
      Not collected: {first.what}
      {first.database && ` of ${first.database}`}, {first.reason}
      {parts.length > 1 && `, and ${parts.length - 1} more`}
    </div>
  );
}
