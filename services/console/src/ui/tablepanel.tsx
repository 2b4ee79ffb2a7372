// A panel with one table: what it asks, what it shows until the answer is there, what it says when it is empty.

import type { ComponentChildren } from 'preact';
import type { Ask } from '../api/asks.ts';
import type { Answer } from '../state/query.ts';
import { Panel } from './panel.tsx';
import { type Column, Table, tableData } from './table.tsx';

interface Props<T> {
  title: string;
  note?: ComponentChildren;
  tools?: ComponentChildren;
  // Above the table, and below it.
  head?: ComponentChildren;
  foot?: ComponentChildren;
  asks: readonly (Ask<unknown> | undefined)[];
  // The first is what the rows come from; the others add to it.
  answers: readonly Answer<unknown>[];
  columns: readonly Column<T>[];
  rows: readonly T[];
  rowKey: (row: T) => string;
  sort: string;
  // Another one makes the table anew, with `sort`.
  tableKey?: string;
  most?: number;
  // Height until the answer is there.
  skeleton?: number;
  // Shown instead of a table without rows.
  empty: ComponentChildren;
}

export function TablePanel<T>(props: Props<T>) {
  const { title, columns, rows, answers } = props;
  const [first] = answers;
  const error = answers.find((answer) => answer.error)?.error;
  return (
    <Panel
      title={title}
      note={props.note}
      tools={props.tools}
      asks={props.asks}
      // What is only done with a row is no figure.
      data={() =>
        tableData(
          columns.filter((column) => column.key !== 'do'),
          rows,
        )
      }
      error={error}
      loading={answers.some((answer) => answer.loading)}
      skeleton={first && first.data === undefined && !error ? (props.skeleton ?? 96) : undefined}
    >
      {props.head}
      {rows.length > 0 ? (
        <Table
          key={props.tableKey}
          caption={title}
          columns={columns}
          rows={rows}
          rowKey={props.rowKey}
          sort={props.sort}
          {...(props.most ? { most: props.most } : {})}
        />
      ) : (
        props.empty
      )}
      {props.foot}
    </Panel>
  );
}
