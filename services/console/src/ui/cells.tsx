// What stands in cells of more than one table, and columns that are made from a row's figures.

import type { MetricRow } from '../api/generated.ts';
import { figure, label, text } from '../state/rows.ts';
import { dateTime, duration, type Zone } from '../state/time.ts';
import { withUnit } from '../state/units.ts';
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

// A statement for the server, to be copied as it stands.
export const Remedy = ({ children }: { children: string }) => <code class="remedy">{children}</code>;
