// A table of figures: sorted by a click on a heading, figures to the right, whole texts on demand.

import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import type { Cell } from './csv.ts';
import type { TableData } from './panel.tsx';

export interface Column<T> {
  key: string;
  title: string;
  // What is sorted by and written to CSV.
  value: (row: T) => Cell;
  // What is shown; the value itself where absent.
  cell?: (row: T) => ComponentChildren;
  numeric?: boolean;
  // Left out on narrow screens.
  wide?: boolean;
  hint?: string;
  class?: string;
}

interface Props<T> {
  caption: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  rowKey: (row: T) => string;
  // Key of the column, with a minus for the largest first.
  sort: string;
  // Rows beyond these are shown on demand.
  most?: number;
}

export function Table<T>({ caption, columns, rows, rowKey, sort, most = 500 }: Props<T>) {
  const [chosen, choose] = useState(sort);
  const [all, showAll] = useState(false);
  const down = chosen.startsWith('-');
  const by = columns.find((column) => column.key === chosen.replace(/^-/, ''));
  const sorted = by ? [...rows].sort((a, b) => compare(by.value(a), by.value(b)) * (down ? -1 : 1)) : rows;
  const shown = all ? sorted : sorted.slice(0, most);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
      <table class="table">
        <thead>
          <tr>
            {columns.map((column) => {
              const active = column === by;
              return (
                <th
                  key={column.key}
                  scope="col"
                  class={`${column.numeric ? 'num' : ''} ${column.wide ? 'wide' : ''} ${column.class ?? ''}`}
                  aria-sort={active ? (down ? 'descending' : 'ascending') : undefined}
                >
                  <button
                    type="button"
                    title={column.hint}
                    onClick={() =>
                      choose(
                        active
                          ? down
                            ? column.key
                            : `-${column.key}`
                          : column.numeric
                            ? `-${column.key}`
                            : column.key,
                      )
                    }
                  >
                    {column.title}
                    {active && <span aria-hidden="true">{down ? ' ↓' : ' ↑'}</span>}
                  </button>
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => (
            <tr key={rowKey(row)}>
              {columns.map((column) => (
                <td
                  key={column.key}
                  class={`${column.numeric ? 'num' : ''} ${column.wide ? 'wide' : ''} ${column.class ?? ''}`}
                >
                  {column.cell ? column.cell(row) : String(column.value(row) ?? '')}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {sorted.length > shown.length && (
        <button type="button" class="more" onClick={() => showAll(true)}>
          Show all {sorted.length} rows
        </button>
      )}
    </div>
  );
}

function compare(a: Cell, b: Cell): number {
  if (a === b) return 0;
  // What is unknown comes first, and so last where the largest is first.
  if (a === null || a === undefined) return -1;
  if (b === null || b === undefined) return 1;
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

export function tableData<T>(columns: readonly Column<T>[], rows: readonly T[]): TableData {
  return {
    header: columns.map((column) => column.key),
    rows: rows.map((row) => columns.map((column) => column.value(row))),
  };
}
