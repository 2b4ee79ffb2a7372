// Processors, memory and filesystems of the collector's host. Asks: one question a chart.

import type { Series } from '../api/generated.ts';
import { findSource, type Page, sourceHref, useReadings, useSources } from '../state/page.ts';
import { Empty } from '../ui/states.tsx';
import { LineChart } from './linechart.tsx';
import type { TabProps } from './source.tsx';

export function HostTab({ page, source, name }: TabProps) {
  const all = useSources().data?.sources ?? [];
  const host =
    source.kind === 'host'
      ? source
      : all.find((one) => one.kind === 'host' && one.collector_id === source.collector_id);
  if (!host) return <Empty title="No host figures are known for this source." />;
  return (
    <>
      {source.kind !== 'host' && (
        <p class="muted">
          Figures of the host of collector {source.collector_id},{' '}
          <a href={sourceHref(host.name, 'host')}>{host.name}</a>. It is the server's own host only where the collector
          runs there.
        </p>
      )}
      <HostCharts page={page} name={host.name === name ? name : findSource(host.id, all) ? host.id : host.name} />
    </>
  );
}

function HostCharts({ page, name }: { page: Page; name: string }) {
  const readings = useReadings(page, name);
  const step = readings.step(120, 'host_cpu');
  const one = (metric: string, column: string, more: object = {}) => ({ metric, column, source: [name], ...more });
  const filesystem = (series: Series) => series.labels.mountpoint ?? '';
  return (
    <div class="grid">
      <LineChart
        page={page}
        title="Processors busy"
        unit="processors"
        scale={1e-6}
        sync="host"
        step={step}
        parts={[
          { label: 'user', question: one('host_cpu', 'user_us', { rate: true }) },
          { label: 'system', question: one('host_cpu', 'system_us', { rate: true }) },
        ]}
      />
      <LineChart
        page={page}
        title="Waiting for I/O, taken by the hypervisor"
        unit="processors"
        scale={1e-6}
        sync="host"
        step={step}
        parts={[
          { label: 'I/O wait', question: one('host_cpu', 'iowait_us', { rate: true }) },
          { label: 'steal', question: one('host_cpu', 'steal_us', { rate: true }) },
        ]}
      />
      <LineChart
        page={page}
        title="Memory"
        unit="bytes"
        sync="host"
        step={step}
        parts={[
          { label: 'total', question: one('host_memory', 'total_bytes') },
          { label: 'available', question: one('host_memory', 'available_bytes') },
        ]}
      />
      <LineChart
        page={page}
        title="Space available"
        unit="bytes"
        sync="host"
        step={step === undefined ? undefined : Math.max(step, 300)}
        parts={[{ label: 'available', question: one('host_filesystem', 'available_bytes'), nameOf: filesystem }]}
      />
    </div>
  );
}
