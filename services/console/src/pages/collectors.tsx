// Collectors: state, version, certificate, and what they do not collect with the remedy; managed instances. Asks: collectors,
// managed instances; of one, its configuration.

import { useState } from 'preact/hooks';
import * as ask from '../api/asks.ts';
import type { Collector, Source } from '../api/generated.ts';
import { broken, collectorHref, type Page, refOf, sourceHref, useSources } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { dateTime, duration } from '../state/time.ts';
import { count } from '../state/units.ts';
import { State } from '../ui/marks.tsx';
import { Copy, Panel } from '../ui/panel.tsx';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
import { ManagedInstances } from './managed.tsx';

const order: Record<string, number> = { error: 0, offline: 1, registered: 2, active: 3, deregistered: 4 };

function ends(collector: Collector, now: number): string {
  if (!collector.certificate_expires_at) return '';
  const left = Date.parse(collector.certificate_expires_at) - now;
  return left > 0 ? `ends in ${duration(left)}` : 'ended';
}

export function CollectorsPage({ page }: { page: Page }) {
  const { view, zone } = page;
  const question = ask.collectors();
  const answer = useAsk(question, view.now);
  const sources = useSources().data?.sources ?? [];
  const rows = answer.data ?? [];
  const missing = (collector: Collector) =>
    sources
      .filter((source) => source.collector_id === collector.id)
      .reduce((sum, source) => sum + broken(source).length, 0);
  const columns: Column<Collector>[] = [
    {
      key: 'state',
      title: 'State',
      value: (row) => order[row.status] ?? 9,
      cell: (row) => <State state={row.status} />,
    },
    {
      key: 'collector',
      title: 'Collector',
      class: 'grow',
      value: (row) => row.name,
      cell: (row) => (
        <a class="strong" href={collectorHref(row.id)}>
          {row.name || row.id}
        </a>
      ),
    },
    { key: 'hostname', title: 'Host', value: (row) => row.hostname },
    {
      key: 'sources',
      title: 'Sources',
      numeric: true,
      value: (row) => sources.filter((source) => source.collector_id === row.id).length,
    },
    {
      key: 'not_collected',
      title: 'Not collected',
      numeric: true,
      value: missing,
      cell: (row) => (missing(row) > 0 ? <span class="warn-text">{missing(row)}</span> : '0'),
    },
    { key: 'version', title: 'Version', wide: true, value: (row) => row.version },
    {
      key: 'config',
      title: 'Config',
      numeric: true,
      wide: true,
      hint: 'Version of the configuration that is stored here',
      value: (row) => (row.config_stored ? row.config_version : null),
      cell: (row) => (row.config_stored ? row.config_version : <span class="muted">its own</span>),
    },
    {
      key: 'last_seen',
      title: 'Seen',
      numeric: true,
      value: (row) => row.last_seen ?? null,
      cell: (row) =>
        row.last_seen ? (
          <span title={dateTime(Date.parse(row.last_seen), zone)}>
            {duration(Math.max(view.now - Date.parse(row.last_seen), 0))} ago
          </span>
        ) : (
          'never'
        ),
    },
    {
      key: 'rows_24h',
      title: 'Rows in 24 h',
      numeric: true,
      wide: true,
      value: (row) => row.metrics_count_24h,
      cell: (row) => count(row.metrics_count_24h),
    },
    {
      key: 'certificate',
      title: 'Certificate',
      wide: true,
      numeric: true,
      value: (row) => row.certificate_expires_at ?? '',
      cell: (row) => <span title={row.certificate_expires_at}>{ends(row, view.now)}</span>,
    },
  ];
  return (
    <>
      <div class="head">
        <h1>Collectors</h1>
      </div>
      <TablePanel
        title="Collectors"
        note={answer.data && String(rows.length)}
        asks={[question]}
        answers={[answer]}
        columns={columns}
        rows={rows}
        rowKey={(row) => row.id}
        sort="state"
        skeleton={200}
        empty={
          <Empty title="No collector has registered.">
            Make a secret with <code>pgactl secrets create NAME</code> and start <code>pganalytics-collector</code> with
            it.
          </Empty>
        }
      />
      <ManagedInstances page={page} />
    </>
  );
}

export function CollectorPage({ page, id }: { page: Page; id: string }) {
  const { view, zone } = page;
  const question = ask.collectors();
  const answer = useAsk(question, view.now);
  const all = useSources().data?.sources ?? [];
  const collector = answer.data?.find((one) => one.id === id);
  const sources = all.filter((source) => source.collector_id === id || source.standby_collectors.includes(id));
  const columns: Column<Source>[] = [
    { key: 'state', title: 'State', value: (row) => row.state, cell: (row) => <State state={row.state} /> },
    {
      key: 'source',
      title: 'Source',
      class: 'grow',
      value: (row) => row.name,
      cell: (row) => <a href={sourceHref(refOf(row, all), row.kind === 'host' ? 'host' : '')}>{row.name}</a>,
    },
    { key: 'owner', title: 'It', value: (row) => (row.collector_id === id ? 'reads it' : 'would take over') },
    {
      key: 'rows_24h',
      title: 'Rows in 24 h',
      numeric: true,
      value: (row) => row.rows_24h ?? null,
      cell: (row) => (row.rows_24h === undefined ? 'unknown' : count(row.rows_24h)),
    },
  ];
  const parts = sources.flatMap((source) => source.not_collected.map((part) => ({ ...part, source })));
  if (answer.data && !collector) return <Empty title={`There is no collector ${id}.`} />;
  return (
    <>
      <div class="head">
        <h1>{collector?.name || id}</h1>
        {collector && (
          <p class="facts">
            <State state={collector.status} />
            <span class="mono">{collector.id}</span>
            <span>{collector.hostname}</span>
            <span>version {collector.version}</span>
            {collector.last_seen && (
              <span>seen {duration(Math.max(view.now - Date.parse(collector.last_seen), 0))} ago</span>
            )}
            <span title={collector.certificate_thumbprint}>certificate {ends(collector, view.now)}</span>
            <span>registered {collector.created_at && dateTime(Date.parse(collector.created_at), zone)}</span>
          </p>
        )}
      </div>
      <TablePanel
        title="Sources"
        asks={[ask.sources()]}
        answers={[answer]}
        columns={columns}
        rows={sources}
        rowKey={(row) => row.id}
        sort="source"
        empty={<Empty title="It reads no source." />}
      />
      <Panel title="Not collected" asks={[ask.sources()]}>
        {parts.length > 0 ? (
          <ul class="reasons">
            {parts.map((part) => (
              <li key={part.source.id + part.what + part.database}>
                <strong>
                  {part.what}
                  {part.database && ` of ${part.database}`}
                </strong>{' '}
                on {part.source.name}
                {part.since && `, since ${dateTime(Date.parse(part.since), zone)}`}
                <p>{part.reason}</p>
              </li>
            ))}
          </ul>
        ) : (
          <Empty title="Everything it should read is read." />
        )}
      </Panel>
      <Config page={page} id={id} />
    </>
  );
}

// Asked for on demand: many collectors have none here.
function Config({ page, id }: { page: Page; id: string }) {
  const [wanted, want] = useState(false);
  const question = ask.config(id);
  const answer = useAsk(wanted ? question : undefined, page.view.now);
  const missing = answer.error?.code === 404;
  return (
    <Panel
      title="Configuration"
      asks={[question]}
      error={missing ? undefined : answer.error}
      loading={answer.loading}
      tools={
        <button type="button" onClick={() => want(true)}>
          Show
        </button>
      }
    >
      {missing ? (
        <Empty title="No configuration is stored here; the collector uses its own." />
      ) : answer.data !== undefined ? (
        <Copy text={answer.data} label="Configuration" />
      ) : (
        <p class="muted">
          What is stored here goes to the collector at once: <code>pgactl config put {id} FILE</code>.
        </p>
      )}
    </Panel>
  );
}
