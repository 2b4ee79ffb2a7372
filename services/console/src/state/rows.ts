// Rows of a metric as the API gives them. Pure.

import type { MetricRow } from '../api/generated.ts';

export const label = (row: MetricRow, name: string): string => row.labels[name] ?? '';
export const text = (row: MetricRow, name: string): string => row.texts[name] ?? '';
// undefined = not known.
export const figure = (row: MetricRow, name: string): number | undefined => row.numbers[name];
export const holds = (row: MetricRow, name: string): boolean => row.texts[name] === 'true';

// Instants as PostgreSQL writes them in UTC: 2026-01-31 14:05:09.123+00.
export function instantOf(text: string | undefined): number | undefined {
  const parsed = Date.parse((text ?? '').replace(' ', 'T').replace(/\+00$/, 'Z'));
  return Number.isNaN(parsed) ? undefined : parsed;
}

// The newest of them.
export function newest(...texts: (string | undefined)[]): number | undefined {
  const known = texts.map(instantOf).filter((at) => at !== undefined);
  return known.length > 0 ? Math.max(...known) : undefined;
}

// Which row of another metric is about the same thing: its labels.
export const keyOf = (labels: Record<string, string>): string =>
  [labels.datname, labels.schemaname, labels.relname, labels.indexrelname].join('\u0000');

export function byKey(rows: readonly MetricRow[] | undefined): Map<string, MetricRow> {
  return new Map((rows ?? []).map((row) => [keyOf(row.labels), row]));
}

// A name with its schema, unless that is the usual one.
export function qualified(labels: Record<string, string>, name: string | undefined): string {
  return (!labels.schemaname || labels.schemaname === 'public' ? name : `${labels.schemaname}.${name}`) ?? '';
}

// As an identifier stands in a statement.
export const quoteIdent = (name: string): string =>
  /^[a-z_][a-z0-9_$]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
export const quoteLiteral = (value: string): string => `'${value.replaceAll("'", "''")}'`;
