// What the stored data takes, what waits to be merged, and the jobs of upkeep. Asks: storage.

import * as ask from '../api/asks.ts';
import type { JobStatus, StoredTable } from '../api/generated.ts';
import type { Page } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { dateTime, duration } from '../state/time.ts';
import { bytes, count, milliseconds, number } from '../state/units.ts';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';

interface Sum {
  name: string;
  bytes: number;
  rows: number;
  blocks: number;
  oldest: string;
}

export function StoragePage({ page }: { page: Page }) {
  const { view, zone } = page;
  const question = ask.storage();
  const answer = useAsk(question, view.now);
  const data = answer.data;
  const sumBy = (nameOf: (one: { source: string; metric: string }) => string): Sum[] => {
    const sums = new Map<string, Sum>();
    for (const one of data?.metrics ?? []) {
      const name = nameOf(one);
      const sum = sums.get(name) ?? { name, bytes: 0, rows: 0, blocks: 0, oldest: '' };
      sum.bytes += one.bytes;
      sum.rows += one.rows;
      sum.blocks += one.blocks;
      if (one.oldest && (!sum.oldest || one.oldest < sum.oldest)) sum.oldest = one.oldest;
      sums.set(name, sum);
    }
    return [...sums.values()];
  };
  const columns = (title: string): Column<Sum>[] => [
    { key: 'name', title, class: 'grow', value: (row) => row.name || 'removed source' },
    { key: 'bytes', title: 'Size', numeric: true, value: (row) => row.bytes, cell: (row) => bytes(row.bytes) },
    { key: 'rows', title: 'Rows', numeric: true, value: (row) => row.rows, cell: (row) => count(row.rows) },
    {
      key: 'bytes_per_row',
      title: 'a row',
      numeric: true,
      value: (row) => (row.rows > 0 ? row.bytes / row.rows : null),
      cell: (row) => (row.rows > 0 ? `${number(row.bytes / row.rows)} B` : ''),
    },
    {
      key: 'oldest',
      title: 'Oldest',
      numeric: true,
      wide: true,
      value: (row) => row.oldest,
      cell: (row) => (row.oldest ? dateTime(Date.parse(row.oldest), zone) : ''),
    },
  ];
  const bySource = sumBy((one) => one.source);
  const byMetric = sumBy((one) => one.metric);
  const tableColumns: Column<StoredTable>[] = [
    { key: 'table', title: 'Table', class: 'grow', value: (row) => row.name },
    { key: 'bytes', title: 'Size', numeric: true, value: (row) => row.bytes, cell: (row) => bytes(row.bytes) },
  ];
  const jobColumns: Column<JobStatus>[] = [
    { key: 'job', title: 'Job', class: 'grow', value: (row) => row.name },
    {
      key: 'holder',
      title: 'Done by',
      value: (row) => row.holder,
      cell: (row) => row.holder || <span class="muted">nobody now</span>,
    },
    {
      key: 'last_run',
      title: 'Last run',
      numeric: true,
      value: (row) => row.last_run ?? null,
      cell: (row) => (row.last_run ? `${duration(Math.max(view.now - Date.parse(row.last_run), 0))} ago` : 'not here'),
    },
    {
      key: 'last_seconds',
      title: 'It took',
      numeric: true,
      value: (row) => row.last_seconds,
      cell: (row) => milliseconds(row.last_seconds * 1000),
    },
    { key: 'runs', title: 'Runs', numeric: true, wide: true, value: (row) => row.runs },
    {
      key: 'failures',
      title: 'Failures',
      numeric: true,
      value: (row) => row.failures,
      cell: (row) =>
        row.failures > 0 ? (
          <span class="bad-text" title={row.last_failure}>
            {row.failures}
          </span>
        ) : (
          '0'
        ),
    },
  ];
  const whole = (data?.tables ?? []).reduce((sum, table) => sum + table.bytes, 0);
  const blockBytes = bySource.reduce((sum, one) => sum + one.bytes, 0);
  return (
    <>
      <div class="head">
        <h1>Storage</h1>
        {data && (
          <p class="facts">
            {whole > 0 && <span>{bytes(whole)} on disk</span>}
            <span>{bytes(blockBytes)} in blocks</span>
            <span>
              {count(data.backlog?.frames ?? 0)} frames wait to be merged
              {data.backlog?.oldest &&
                `, the oldest ${duration(Math.max(view.now - Date.parse(data.backlog.oldest), 0))} old`}
            </span>
          </p>
        )}
      </div>
      {(data?.backlog?.held_by ?? []).map((holder) => (
        <p key={holder.name + holder.pid} class="banner warn">
          Merged frames cannot be given back: {holder.kind} {holder.name} {holder.pid > 0 && `(process ${holder.pid})`}{' '}
          of {holder.user} has held a snapshot since {holder.since && dateTime(Date.parse(holder.since), zone)}.
        </p>
      ))}
      <div class="grid">
        <TablePanel
          title="By source"
          note={data?.as_of && `as of ${dateTime(Date.parse(data.as_of), zone)}`}
          asks={[question]}
          answers={[answer]}
          columns={columns('Source')}
          rows={bySource}
          rowKey={(row) => row.name}
          sort="-bytes"
          skeleton={160}
          empty={<Empty title="No blocks yet.">Frames are merged into blocks after some two hours.</Empty>}
        />
        <TablePanel
          title="By metric"
          asks={[question]}
          answers={[answer]}
          columns={columns('Metric')}
          rows={byMetric}
          rowKey={(row) => row.name}
          sort="-bytes"
          skeleton={160}
          empty={<Empty title="No blocks yet." />}
        />
        <TablePanel
          title="Tables of the metrics database"
          asks={[question]}
          answers={[answer]}
          columns={tableColumns}
          rows={data?.tables ?? []}
          rowKey={(row) => row.name}
          sort="-bytes"
          skeleton={160}
          empty={<Empty title="They are shown to those who may see every group." />}
        />
        <TablePanel
          title="Jobs"
          asks={[question]}
          answers={[answer]}
          columns={jobColumns}
          rows={data?.jobs ?? []}
          rowKey={(row) => row.name}
          sort="job"
          skeleton={160}
          empty={<Empty title="No job is known." />}
        />
      </div>
    </>
  );
}
