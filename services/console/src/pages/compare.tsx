// Statements of two windows of equal length: what takes more time than before, and whether because it runs more often or
// because each call takes longer. Asks: the heaviest of each window, and of each what the other one has beyond them.

import * as ask from '../api/asks.ts';
import type { TopQuery } from '../api/generated.ts';
import { callsOf as calls, causeOf, meanOf as mean, timeOf as time, type Windows } from '../state/compare.ts';
import { statementHref } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { dateTime, fromInput, type Range, toInput } from '../state/time.ts';
import { change as changeOf, count, milliseconds, percent } from '../state/units.ts';
import { change } from '../state/url.ts';
import { statementColumn } from '../ui/cells.tsx';
import { Choice } from '../ui/choice.tsx';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
import type { TabProps } from './source.tsx';
import { earlierOf, identity, spans } from './statements.tsx';

const limit = 300;

type Pair = Windows<TopQuery>;

const any = (pair: Pair): TopQuery => (pair.now ?? pair.former) as TopQuery;

export function CompareTab({ page, name }: TabProps) {
  const { view, range, zone } = page;
  const chosen = view.query.get('with') ?? '';
  const other = earlierOf(range, chosen);
  const source = [name];
  const nowAsk = ask.top(range, { source, limit });
  const thenAsk = ask.top(other, { source, limit });
  const now = useAsk(nowAsk, view.now);
  const then = useAsk(thenAsk, view.now);
  const beyond = (of: typeof now, than: typeof now) => {
    if (!of.data || !than.data) return [];
    const has = new Set(than.data.queries.map((query) => query.query_id));
    return [...new Set(of.data.queries.map((query) => query.query_id))].filter((id) => !has.has(id)).slice(0, 200);
  };
  const moreNow = restOf(range, source, beyond(then, now));
  const moreThen = restOf(other, source, beyond(now, then));
  const restNow = useAsk(moreNow, view.now);
  const restThen = useAsk(moreThen, view.now);

  const pairs = new Map<string, Pair>();
  const put = (query: TopQuery, side: 'former' | 'now') => {
    const key = identity(query);
    const pair = pairs.get(key) ?? { former: undefined, now: undefined };
    pair[side] ??= query;
    pairs.set(key, pair);
  };
  for (const query of [...(now.data?.queries ?? []), ...(restNow.data?.queries ?? [])]) put(query, 'now');
  for (const query of [...(then.data?.queries ?? []), ...(restThen.data?.queries ?? [])]) put(query, 'former');
  // Nothing is known of a window that no reading covers: its statements are not "new".
  const comparable = (now.data?.completeness ?? 0) > 0.5 && (then.data?.completeness ?? 0) > 0.5;
  const rows = comparable ? [...pairs.values()] : [];
  const difference = (pair: Pair) => time(pair.now) - time(pair.former);

  const columns: Column<Pair>[] = [
    statementColumn(any, (pair) => statementHref(name, any(pair).query_id)),
    {
      key: 'cause',
      title: 'Because',
      value: causeOf,
      cell: (pair) => {
        const cause = causeOf(pair);
        const tone = { slower: 'bad-text', faster: 'good-text', new: 'warn-text' }[cause] ?? '';
        return <span class={`nowrap ${tone}`}>{cause}</span>;
      },
    },
    {
      key: 'difference',
      title: 'More time',
      numeric: true,
      hint: 'Time now without the time before',
      value: difference,
      cell: (pair) =>
        difference(pair) === 0 ? '0' : `${difference(pair) > 0 ? '+' : '−'}${milliseconds(Math.abs(difference(pair)))}`,
    },
    {
      key: 'change',
      title: 'Change',
      numeric: true,
      value: (pair) => (time(pair.former) > 0 ? time(pair.now) / time(pair.former) : null),
      cell: (pair) => changeOf(time(pair.now), time(pair.former)),
    },
    ...(['former', 'now'] as const).flatMap((side): Column<Pair>[] => {
      const said = side === 'former' ? 'before' : 'now';
      return [
        {
          key: `time_${said}`,
          title: `Time ${said}`,
          numeric: true,
          wide: true,
          value: (pair) => time(pair[side]),
          cell: (pair) => milliseconds(time(pair[side])),
        },
        {
          key: `calls_${said}`,
          title: `Calls ${said}`,
          numeric: true,
          wide: true,
          value: (pair) => calls(pair[side]),
          cell: (pair) => count(calls(pair[side])),
        },
        {
          key: `mean_${said}`,
          title: `Mean ${said}`,
          numeric: true,
          value: (pair) => mean(pair[side]) ?? null,
          cell: (pair) => {
            const value = mean(pair[side]);
            return value === undefined ? '–' : milliseconds(value);
          },
        },
      ];
    }),
    { key: 'on', title: 'On', wide: true, value: (pair) => `${any(pair).database_name} · ${any(pair).user_name}` },
  ];
  const custom = chosen !== '' && !spans.some((span) => span.key === chosen);
  const said = (of: Range, answer: typeof now) =>
    `${dateTime(of.start, zone)} – ${dateTime(of.end, zone)}${answer.data ? `, ${milliseconds(answer.data.total ?? 0)} in all, ${percent(answer.data.completeness)} covered` : ''}`;
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
          <dd>{said(range, now)}</dd>
          <dt>before</dt>
          <dd>{said(other, then)}</dd>
        </dl>
      }
      asks={[nowAsk, thenAsk, moreNow, moreThen]}
      answers={[now, then, restNow, restThen]}
      columns={columns}
      rows={rows}
      rowKey={(pair) => identity(any(pair))}
      sort="-difference"
      most={100}
      skeleton={320}
      empty={
        comparable ? (
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

function restOf(range: Range, source: string[], id: string[]) {
  return id.length > 0 ? ask.top(range, { source, id, limit: 1000 }) : undefined;
}
