// Statements of a span by what they cost, with the span before beside them.

import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import * as ask from '../api/asks.ts';
import type { Source, TopQuery } from '../api/generated.ts';
import { stepOf, toColumns } from '../charts/gaps.ts';
import { Spark } from '../charts/spark.tsx';
import { type Page, refOfId, statementHref, useSources } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { before, type Range, stepFor } from '../state/time.ts';
import { change as changeOf, count, milliseconds, percent, withUnit } from '../state/units.ts';
import { change } from '../state/url.ts';
import { statementColumn } from '../ui/cells.tsx';
import { Choice } from '../ui/choice.tsx';
import { Share } from '../ui/marks.tsx';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
import type { TabProps } from './source.tsx';

const orders = [
  { key: 'total_time', title: 'time', unit: 'ms' },
  { key: 'calls', title: 'calls', unit: 'calls' },
  { key: 'mean_time', title: 'mean time', unit: 'ms' },
  { key: 'rows', title: 'rows', unit: 'rows' },
  { key: 'shared_blks_read', title: 'blocks read', unit: 'blocks' },
  { key: 'io_time', title: 'I/O time', unit: 'ms' },
  { key: 'temp_blks_written', title: 'temporary blocks', unit: 'blocks' },
  { key: 'wal_bytes', title: 'WAL', unit: 'bytes' },
  { key: 'plan_time', title: 'planning', unit: 'ms' },
] as const;

type Order = (typeof orders)[number];

export const spans = [
  { key: 'before', title: 'the span before', back: undefined },
  { key: '-1d', title: 'a day earlier', back: 86_400_000 },
  { key: '-7d', title: 'a week earlier', back: 7 * 86_400_000 },
] as const;

// The window that `range` is compared with: one of the spans, or one of equal length from an instant on.
export function earlierOf(range: Range, key: string): Range {
  const length = range.end - range.start;
  const at = Date.parse(key);
  if (!Number.isNaN(at)) return { start: at, end: at + length };
  const back = spans.find((span) => span.key === key)?.back;
  return back === undefined ? before(range) : { start: range.start - back, end: range.end - back };
}

export function StatementsTab({ page, name }: TabProps) {
  return <StatementsPanel page={page} name={name} title="Statements" limit={200} />;
}

interface Props {
  page: Page;
  // Absent = over the fleet.
  name?: string;
  title: string;
  limit: number;
  compact?: boolean;
}

export function StatementsPanel({ page, name, title, limit, compact = false }: Props) {
  const { view, range } = page;
  const order = orders.find((one) => one.key === view.query.get('order')) ?? orders[0];
  const against = spans.find((one) => one.key === view.query.get('against')) ?? spans[0];
  const [text, setText] = useState('');
  const earlier = earlierOf(range, against.key);
  const source = name ? [name] : [];
  const topAsk = ask.top(range, { source, orderBy: order.key, limit });
  const top = useAsk(topAsk, view.now);
  const ids = [...new Set((top.data?.queries ?? []).map((query) => query.query_id))];
  const formerAsk = ids.length > 0 ? ask.top(earlier, { source, orderBy: order.key, id: ids, limit: 1000 }) : undefined;
  const former = useAsk(formerAsk, view.now);
  const found = (top.data?.queries ?? []).filter(
    (query) => text === '' || `${query.query_text} ${query.query_id}`.toLowerCase().includes(text.toLowerCase()),
  );
  const sparkAsk =
    ids.length > 0
      ? ask.series(range, {
          metric: 'statements',
          column: order.key === 'calls' ? 'calls' : 'total_exec_time_us',
          source,
          filter: [`queryid~^(${ids.join('|')})$`],
          groupBy: ['queryid'],
          step: stepFor(range, 60, 40),
          rate: true,
          limit: 200,
        })
      : undefined;
  const sparks = useAsk(sparkAsk, view.now);
  const drawn = new Map(
    (sparks.data ?? []).map((series) => {
      const columns = toColumns([series], stepOf([series], 60), range);
      return [series.labels.queryid ?? '', columns.values[0] ?? []];
    }),
  );
  const seconds = ((range.end - range.start) / 1000) * (top.data?.completeness ?? 1);
  const then = new Map((former.data?.queries ?? []).map((query) => [identity(query), query]));
  // Nothing is known of a span that no reading covers: its statements are not "new".
  const comparable = former.data !== undefined && former.data.completeness > 0.5;
  const sources = useSources().data?.sources ?? [];
  const columns = columnsOf({
    name,
    sources,
    order,
    seconds,
    then,
    comparable,
    against: against.title,
    drawn,
    compact,
  });
  const hidden = (top.data?.queries ?? []).length > 0 && top.data?.queries.every((query) => query.query_text === '');
  const tools: ComponentChildren = (
    <>
      {!compact && (
        <input
          type="search"
          aria-label="Filter statements"
          placeholder="word of the text"
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
        />
      )}
      <Choice
        label="by"
        value={order.key}
        options={orders}
        onChoose={(key) => change({ order: key === orders[0].key ? undefined : key }, 'replace')}
      />
      {!compact && (
        <Choice
          label="against"
          value={against.key}
          options={spans}
          onChoose={(key) => change({ against: key === 'before' ? undefined : key }, 'replace')}
        />
      )}
    </>
  );
  return (
    <TablePanel
      title={title}
      note={
        top.data && (
          <>
            {percent(top.data.completeness)} covered
            {top.data.total !== undefined && `, in all ${withUnit(top.data.total, order.unit)}`}
            {hidden && ', texts are not for this account'}
          </>
        )
      }
      tools={tools}
      asks={[topAsk, formerAsk, sparkAsk]}
      answers={[top]}
      columns={columns}
      rows={found}
      rowKey={(query) => query.source_id + identity(query)}
      sort={`-${order.key}`}
      most={50}
      tableKey={order.key}
      skeleton={320}
      empty={
        text ? (
          <Empty title="No statement of the list has this word in the first 500 characters of its text." />
        ) : (
          <Empty title="No statements in this range.">
            Either nothing ran, or pg_stat_statements is not loaded there. <code>pganalytics-collector --check</code>{' '}
            beside the server says which, with the line that mends it.
          </Empty>
        )
      }
    />
  );
}

export const identity = (query: TopQuery) => `${query.query_id} ${query.database_name} ${query.user_name}`;

function columnsOf(of: {
  name: string | undefined;
  sources: readonly Source[];
  order: Order;
  seconds: number;
  then: Map<string, TopQuery>;
  comparable: boolean;
  against: string;
  drawn: Map<string, (number | null)[]>;
  compact: boolean;
}): Column<TopQuery>[] {
  const figure = (query: TopQuery): number => query[of.order.key];
  const formerOf = (query: TopQuery) => {
    const found = of.then.get(identity(query));
    return found ? found[of.order.key] : 0;
  };
  const plain: Record<string, Column<TopQuery>> = {
    total_time: {
      key: 'total_time',
      title: 'Time',
      numeric: true,
      value: (query) => query.total_time,
      cell: (query) => milliseconds(query.total_time),
    },
    calls: {
      key: 'calls',
      title: 'Calls',
      numeric: true,
      value: (query) => query.calls,
      cell: (query) => count(query.calls),
    },
    mean_time: {
      key: 'mean_time',
      title: 'Mean',
      numeric: true,
      value: (query) => (query.calls > 0 ? query.mean_time : null),
      cell: (query) => (query.calls > 0 ? milliseconds(query.mean_time) : '–'),
    },
    rows: {
      key: 'rows',
      title: 'Rows',
      numeric: true,
      wide: true,
      value: (query) => query.rows,
      cell: (query) => count(query.rows),
    },
    shared_blks_read: {
      key: 'shared_blks_read',
      title: 'Blocks read',
      numeric: true,
      wide: true,
      hint: 'Blocks from outside shared buffers',
      value: (query) => query.shared_blks_read,
      cell: (query) => count(query.shared_blks_read),
    },
    io_time: {
      key: 'io_time',
      title: 'I/O time',
      numeric: true,
      wide: true,
      value: (query) => query.io_time,
      cell: (query) => milliseconds(query.io_time),
    },
    temp_blks_written: {
      key: 'temp_blks_written',
      title: 'Temp. blocks',
      numeric: true,
      wide: true,
      value: (query) => query.temp_blks_written,
      cell: (query) => count(query.temp_blks_written),
    },
    wal_bytes: {
      key: 'wal_bytes',
      title: 'WAL',
      numeric: true,
      wide: true,
      value: (query) => query.wal_bytes,
      cell: (query) => withUnit(query.wal_bytes, 'bytes'),
    },
    plan_time: {
      key: 'plan_time',
      title: 'Planning',
      numeric: true,
      wide: true,
      value: (query) => query.plan_time,
      cell: (query) => milliseconds(query.plan_time),
    },
  };
  const usual = of.compact
    ? ['total_time', 'calls', 'mean_time']
    : ['total_time', 'calls', 'mean_time', 'rows', 'shared_blks_read', 'io_time', 'wal_bytes'];
  if (!usual.includes(of.order.key)) usual.push(of.order.key);
  return [
    statementColumn(
      (query) => query,
      (query) => statementHref(of.name ?? refOfId(query.source_id, of.sources), query.query_id),
    ),
    ...(of.name ? [] : [{ key: 'source', title: 'Source', value: (query: TopQuery) => query.source_name }]),
    {
      key: 'share',
      title: `Share of ${of.order.title}`,
      numeric: true,
      hint: 'Part of the figure of all statements',
      value: (query) => query.share ?? null,
      cell: (query) => (query.share === undefined ? '–' : <Share share={query.share} text={percent(query.share)} />),
    },
    {
      key: 'over_time',
      title: 'over time',
      wide: true,
      value: figure,
      cell: (query) => {
        const values = of.drawn.get(query.query_id);
        return (
          values && (
            <Spark
              values={values}
              width={88}
              height={20}
              label={`${of.order.key === 'calls' ? 'Calls' : 'Time'} over the range`}
            />
          )
        );
      },
    },
    ...usual.map((key) => plain[key] as Column<TopQuery>),
    {
      key: 'calls_per_second',
      title: 'Calls/s',
      numeric: true,
      wide: true,
      hint: 'Over the known part of the range',
      value: (query) => (of.seconds > 0 ? query.calls / of.seconds : null),
      cell: (query) => (of.seconds > 0 ? withUnit(query.calls / of.seconds, '1/s') : 'unknown'),
    },
    {
      key: 'change',
      title: 'Change',
      numeric: true,
      hint: `Of ${of.order.title} against ${of.against}`,
      value: (query) => (of.comparable ? figure(query) - formerOf(query) : null),
      cell: (query) => (of.comparable ? changeOf(figure(query), formerOf(query)) : <span class="muted">unknown</span>),
    },
    {
      key: 'on',
      title: 'On',
      wide: true,
      hint: 'Database and user',
      value: (query) => `${query.database_name} · ${query.user_name}`,
    },
  ];
}
