// Statements of two windows of equal length: which got slower or faster, since when, and why. One ask.

import * as ask from '../api/asks.ts';
import type { Cause, Evidence, QueryComparison } from '../api/generated.ts';
import { beganOf, mainCause, statusOf, toneOf } from '../state/compare.ts';
import { statementHref } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { dateTime, fromInput, type Range, toInput, type Zone } from '../state/time.ts';
import { change as changeOf, count, milliseconds, percent, withUnit } from '../state/units.ts';
import { change } from '../state/url.ts';
import { statementColumn } from '../ui/cells.tsx';
import { Choice } from '../ui/choice.tsx';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
import type { TabProps } from './source.tsx';
import { earlierOf, spans } from './statements.tsx';

// The shortest window that the API compares.
const leastMs = 180_000;

const keyOf = (row: QueryComparison) => `${row.source_id} ${row.database_name} ${row.query_hash}`;

export function CompareTab({ page, name }: TabProps) {
  const { view, range, zone } = page;
  const chosen = view.query.get('with') ?? '';
  const other = earlierOf(range, chosen);
  const long = range.end - range.start >= leastMs;
  const compareAsk = long ? ask.comparison(other, range, { source: [name], limit: 100 }) : undefined;
  const compared = useAsk(compareAsk, view.now);
  const answer = compared.data;
  // Nothing is known of a window that no reading covers.
  const comparable = (answer?.before?.completeness ?? 0) > 0.5 && (answer?.after?.completeness ?? 0) > 0.5;
  const rows = comparable ? (answer?.comparisons ?? []) : [];
  const difference = (row: QueryComparison) => row.after_total_time - row.before_total_time;

  const columns: Column<QueryComparison>[] = [
    statementColumn(
      (row) => ({ ...row, query_id: row.query_hash }),
      (row) => statementHref(name, row.query_hash),
    ),
    {
      key: 'status',
      title: 'Is',
      hint: 'slower and faster: the mean time changed beyond its variation; more and less load: the time in all did',
      value: statusOf,
      cell: (row) => <span class={`nowrap ${toneOf(row)}`}>{statusOf(row)}</span>,
    },
    {
      key: 'cause',
      title: 'Because',
      value: (row) => mainCause(row),
      cell: (row) => <Causes causes={row.causes} said={mainCause(row)} zone={zone} />,
    },
    {
      key: 'since',
      title: 'Since',
      value: (row) => beganOf(row) ?? null,
      cell: (row) => {
        const began = beganOf(row);
        return began === undefined ? '–' : <span class="nowrap">{dateTime(began, zone)}</span>;
      },
    },
    {
      key: 'difference',
      title: 'More time',
      numeric: true,
      hint: 'Time now without the time before',
      value: difference,
      cell: (row) =>
        difference(row) === 0 ? '0' : `${difference(row) > 0 ? '+' : '−'}${milliseconds(Math.abs(difference(row)))}`,
    },
    {
      key: 'change',
      title: 'Change of mean',
      numeric: true,
      value: (row) => row.mean_time_change_percent ?? null,
      cell: (row) =>
        row.before_mean_time === undefined || row.after_mean_time === undefined
          ? '–'
          : changeOf(row.after_mean_time, row.before_mean_time),
    },
    ...(['before', 'after'] as const).flatMap((side): Column<QueryComparison>[] => {
      const said = side === 'before' ? 'before' : 'now';
      return [
        {
          key: `time_${said}`,
          title: `Time ${said}`,
          numeric: true,
          wide: true,
          value: (row) => row[`${side}_total_time`],
          cell: (row) => milliseconds(row[`${side}_total_time`]),
        },
        {
          key: `calls_${said}`,
          title: `Calls ${said}`,
          numeric: true,
          wide: true,
          value: (row) => row[`${side}_calls`],
          cell: (row) => count(row[`${side}_calls`]),
        },
        {
          key: `mean_${said}`,
          title: `Mean ${said}`,
          numeric: true,
          value: (row) => row[`${side}_mean_time`] ?? null,
          cell: (row) => {
            const value = row[`${side}_mean_time`];
            return value === undefined ? '–' : milliseconds(value);
          },
        },
      ];
    }),
    { key: 'on', title: 'On', wide: true, value: (row) => row.database_name },
  ];
  const custom = chosen !== '' && !spans.some((span) => span.key === chosen);
  const said = (of: Range, window: { completeness: number; total_time: number } | undefined) =>
    `${dateTime(of.start, zone)} – ${dateTime(of.end, zone)}${window ? `, ${milliseconds(window.total_time)} in all, ${percent(window.completeness)} covered` : ''}`;
  const missing = (answer?.evidence ?? []).filter((one) => one.not_read !== '' || one.completeness < 0.5);
  return (
    <TablePanel
      title="Compare two windows"
      tools={
        <>
          <Choice
            label="with"
            value={custom ? 'other' : chosen || 'before'}
            options={[...spans, { key: 'other', title: 'another start' }]}
            onChoose={(key) => {
              const start = new Date(other.start).toISOString();
              change({ with: key === 'before' ? undefined : key === 'other' ? start : key }, 'replace');
            }}
          />
          {custom && (
            <input
              type="datetime-local"
              step="1"
              aria-label="Start of the window before"
              value={toInput(other.start, zone)}
              onChange={(event) => {
                const at = fromInput(event.currentTarget.value, zone);
                if (at !== undefined) change({ with: new Date(at).toISOString() }, 'replace');
              }}
            />
          )}
        </>
      }
      head={
        <dl class="windows">
          <dt>now</dt>
          <dd>{said(range, answer?.after)}</dd>
          <dt>before</dt>
          <dd>{said(other, answer?.before)}</dd>
        </dl>
      }
      foot={
        comparable && answer ? (
          <p class="muted">
            {`${answer.degraded_count} slower, ${answer.improved_count} faster, ${answer.unchanged_count} unchanged, ${answer.new_count} new, ${answer.gone_count} gone.`}
            {missing.length > 0 &&
              ` Causes may be missing: little is stored of ${missing.map((one) => one.metric).join(', ')}.`}
          </p>
        ) : undefined
      }
      asks={compareAsk ? [compareAsk] : []}
      answers={[compared]}
      columns={columns}
      rows={rows}
      rowKey={keyOf}
      sort="-difference"
      most={100}
      skeleton={320}
      empty={
        !long ? (
          <Empty title="Windows of less than three minutes are not compared.">
            Choose a longer range: what a statement does varies too much from one minute to the next.
          </Empty>
        ) : comparable ? (
          <Empty title="No statement ran in either window." />
        ) : (
          <Empty title="One of the windows is hardly covered by readings.">
            Choose a range and a start within the time that the source was watched; <code>pgactl freshness</code> says
            which.
          </Empty>
        )
      }
    />
  );
}

// The first cause; the others and their figures on demand.
function Causes({ causes, said, zone }: { causes: readonly Cause[]; said: string; zone: Zone }) {
  const evidence = causes.flatMap((cause) => cause.evidence);
  if (evidence.length === 0) return <span>{said || '–'}</span>;
  return (
    <details>
      <summary>{said}</summary>
      <ul>
        {causes.slice(1).map((cause) => (
          <li key={cause.kind}>{cause.summary}</li>
        ))}
        {evidence.map((one) => (
          <li key={`${one.what} ${one.object} ${one.unit}`} class="muted">
            {evidenceText(one, zone)}
          </li>
        ))}
      </ul>
    </details>
  );
}

function evidenceText(one: Evidence, zone: Zone): string {
  const what = [one.what.replaceAll('_', ' '), one.object].filter(Boolean).join(' ');
  if (one.before_value !== undefined || one.after_value !== undefined) {
    return `${what}: ${withUnit(one.before_value ?? 0, one.unit)} before, ${withUnit(one.after_value ?? 0, one.unit)} now`;
  }
  const seen =
    one.seen_before && one.seen_after
      ? `, between ${dateTime(Date.parse(one.seen_before), zone)} and ${dateTime(Date.parse(one.seen_after), zone)}`
      : '';
  const values =
    one.before !== undefined || one.after !== undefined ? `: ${one.before ?? '–'} → ${one.after ?? '–'}` : '';
  return `${what}${values}${seen}`;
}
