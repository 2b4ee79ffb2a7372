// One source: who it is, how complete the range is, and its tabs.

import type { Source } from '../api/generated.ts';
import type { Readings } from '../state/page.ts';
import { broken, findSource, type Page, sourceHref, useReadings, useSources } from '../state/page.ts';
import { dateTime, duration } from '../state/time.ts';
import { percent, serverVersion } from '../state/units.ts';
import { State } from '../ui/marks.tsx';
import { Skeleton } from '../ui/panel.tsx';
import { Empty, ErrorState } from '../ui/states.tsx';
import { ActivityTab } from './activity.tsx';
import { AdviceTab } from './advice.tsx';
import { BlockingTab } from './blocking.tsx';
import { ChangesTab } from './changes.tsx';
import { CompareTab } from './compare.tsx';
import { ConnectionsTab } from './connections.tsx';
import { DatabasesTab } from './databases.tsx';
import { HostTab } from './host.tsx';
import { LoadTab } from './load.tsx';
import { LogsTab } from './logs.tsx';
import { IndexesTab, TablesTab } from './relations.tsx';
import { ReplicationTab } from './replication.tsx';
import { SettingsTab } from './settings.tsx';
import { StatementsTab } from './statements.tsx';
import { VacuumTab } from './vacuum.tsx';
import { WalTab } from './wal.tsx';
import { WeeksTab } from './weeks.tsx';

const tabs: readonly { key: string; title: string; view: (props: TabProps) => preact.JSX.Element }[] = [
  { key: 'load', title: 'Load', view: LoadTab },
  { key: 'statements', title: 'Statements', view: StatementsTab },
  { key: 'compare', title: 'Compare', view: CompareTab },
  { key: 'weeks', title: 'Weeks', view: WeeksTab },
  { key: 'blocking', title: 'Blocking', view: BlockingTab },
  { key: 'activity', title: 'Activity', view: ActivityTab },
  { key: 'connections', title: 'Connections', view: ConnectionsTab },
  { key: 'databases', title: 'Databases', view: DatabasesTab },
  { key: 'tables', title: 'Tables', view: TablesTab },
  { key: 'indexes', title: 'Indexes', view: IndexesTab },
  { key: 'vacuum', title: 'Vacuum', view: VacuumTab },
  { key: 'replication', title: 'Replication', view: ReplicationTab },
  { key: 'wal', title: 'WAL', view: WalTab },
  { key: 'settings', title: 'Settings', view: SettingsTab },
  { key: 'changes', title: 'Changes', view: ChangesTab },
  { key: 'host', title: 'Host', view: HostTab },
  { key: 'logs', title: 'Logs', view: LogsTab },
  { key: 'advice', title: 'Advice', view: AdviceTab },
];

export interface TabProps {
  page: Page;
  source: Source;
  // As in addresses and questions.
  name: string;
  readings: Readings;
}

export function SourcePage({ page, name, tab }: { page: Page; name: string; tab: string }) {
  const sources = useSources();
  const readings = useReadings(page, name);
  if (!sources.data) return sources.error ? <ErrorState error={sources.error} /> : <Skeleton height={320} />;
  const source = findSource(name, sources.data.sources);
  if (!source) {
    return (
      <Empty title={`There is no source ${name}.`}>
        It was renamed or removed, or belongs to a group that is not yours. <code>pgactl sources</code> lists those
        there are.
      </Empty>
    );
  }
  const chosen = tabs.find((one) => one.key === tab);
  return (
    <>
      <SourceHead page={page} source={source} readings={readings} />
      <nav class="tabs" aria-label={`Pages of ${source.name}`}>
        {tabs.map((one) => (
          <a
            key={one.key}
            href={sourceHref(name, one.key === 'load' ? '' : one.key)}
            aria-current={one.key === tab ? 'page' : undefined}
          >
            {one.title}
          </a>
        ))}
      </nav>
      {chosen ? (
        <chosen.view page={page} source={source} name={name} readings={readings} />
      ) : (
        <Empty title="There is no such page." />
      )}
    </>
  );
}

function SourceHead({ page, source, readings }: { page: Page; source: Source; readings: Readings }) {
  const { zone, view } = page;
  const activity = readings.freshness.data?.freshness.find(
    (one) => one.metric === (source.kind === 'host' ? 'host_cpu' : 'activity'),
  );
  return (
    <>
      <div class="head">
        <h1>{source.name}</h1>
        <p class="facts">
          <span title={source.since ? `since ${dateTime(Date.parse(source.since), zone)}` : ''}>
            <State state={source.state} />
            {source.since && ` for ${duration(Math.max(view.now - Date.parse(source.since), 0))}`}
          </span>
          {source.role && <span>{source.role}</span>}
          {source.server_version_num > 0 && <span>PostgreSQL {serverVersion(source.server_version_num)}</span>}
          {source.address !== source.name && <span>{source.address}</span>}
          {readings.freshness.data && (
            <span title="Part of the range that readings cover">
              {percent(activity?.completeness ?? 0)} of the range covered
            </span>
          )}
        </p>
      </div>
      {source.state === 'down' && <p class="banner bad">Down: {source.message || 'its collector cannot reach it.'}</p>}
      {source.state === 'silent' && (
        <p class="banner unknown">Collector {source.collector_id} says nothing; what is shown ends where it stopped.</p>
      )}
      {broken(source).map((part) => (
        <p key={part.what + part.database} class="banner warn">
          Not collected: {part.what}
          {part.database && ` of ${part.database}`}. {part.reason}
        </p>
      ))}
    </>
  );
}
