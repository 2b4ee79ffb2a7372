// What stands in cells of more than one table, and columns that are made from a row's figures.

import type { MetricRow } from '../api/generated.ts';
import { statementHref } from '../state/page.ts';
import { figure, label, text } from '../state/rows.ts';
import { dateTime, duration, type Zone } from '../state/time.ts';
import { percent, withUnit } from '../state/units.ts';
import { Share } from './marks.tsx';
import { cutText, Sql } from './sql.tsx';
import type { Column } from './table.tsx';

export const Unknown = () => <span class="muted">unknown</span>;

export function known(value: number | undefined, write: (value: number) => string) {
  return value === undefined ? <Unknown /> : write(value);
}

// How long ago, with the instant on demand.
export function Ago({ at, now, zone }: { at: number | undefined; now: number; zone: Zone }) {
  return at === undefined ? (
    <span class="muted">never seen</span>
  ) : (
    <span title={dateTime(at, zone)}>{duration(Math.max(now - at, 0))} ago</span>
  );
}

type More = Partial<Pick<Column<MetricRow>, 'wide' | 'hint' | 'class' | 'cell'>>;

export const labelColumn = (key: string, title: string, more: More = {}): Column<MetricRow> => ({
  key,
  title,
  value: (row) => label(row, key),
  ...more,
});

export const textColumn = (key: string, title: string, more: More = {}): Column<MetricRow> => ({
  key,
  title,
  value: (row) => text(row, key),
  ...more,
});

// A figure in its unit; `unknown` where it is not known.
export const figureColumn = (key: string, title: string, unit: string, more: More = {}): Column<MetricRow> => ({
  key,
  title,
  numeric: true,
  value: (row) => figure(row, key) ?? null,
  cell: (row) => known(figure(row, key), (value) => withUnit(value, unit)),
  ...more,
});

// What a row is called.
export const nameColumn = <T,>(
  key: string,
  title: string,
  name: (row: T) => string,
  more: Partial<Column<T>> = {},
): Column<T> => ({
  key,
  title,
  class: 'grow',
  value: name,
  cell: (row) => <span class="strong">{name(row)}</span>,
  ...more,
});

interface PercentMore {
  // From here on it is a warning.
  warnFrom?: number;
  whyUnknown?: string;
}

// A figure in percent, as a bar.
export const percentColumn = (
  key: string,
  title: string,
  { warnFrom, whyUnknown }: PercentMore = {},
): Column<MetricRow> => ({
  key,
  title,
  numeric: true,
  value: (row) => figure(row, key) ?? null,
  cell: (row) => {
    const value = figure(row, key);
    if (value === undefined) return whyUnknown ? <span title={whyUnknown}>unknown</span> : <Unknown />;
    const bar = <Share share={value / 100} text={percent(value / 100)} />;
    return warnFrom !== undefined && value >= warnFrom ? <span class="bad-text">{bar}</span> : bar;
  },
});

interface Statement {
  query_id: string;
  query_text: string;
  query_text_truncated: boolean;
}

// A statement by its text, or by its id where the text is not for this account; a link to its page where it has one.
export const statementColumn = <T,>(
  of: (row: T) => Statement | undefined,
  href: (row: T) => string | undefined,
  more: Partial<Column<T>> = {},
): Column<T> => {
  const said = (row: T) => {
    const statement = of(row);
    return cutText(statement?.query_text ?? '', statement?.query_text_truncated ?? false);
  };
  return {
    key: 'statement',
    title: 'Statement',
    class: 'grow text',
    value: (row) => said(row) || (of(row)?.query_id ?? ''),
    cell: (row) => {
      const statement = of(row);
      const to = href(row);
      const shown = statement?.query_text ? (
        <Sql text={statement.query_text} truncated={statement.query_text_truncated} />
      ) : (
        to && <code>{statement?.query_id}</code>
      );
      return to ? (
        <a href={to} title={said(row)}>
          {shown}
        </a>
      ) : (
        shown
      );
    },
    ...more,
  };
};

// A statement that is known by its id alone.
export const statementIdColumn = (source: string, more: More = {}): Column<MetricRow> => ({
  key: 'query_id',
  title: 'Statement',
  value: (row) => text(row, 'query_id'),
  cell: (row) => {
    const id = text(row, 'query_id');
    return id && id !== '0' ? <a href={statementHref(source, id)}>{id}</a> : '';
  },
  ...more,
});

// A statement for the server, to be copied as it stands.
export const Remedy = ({ children }: { children: string }) => <code class="remedy">{children}</code>;
