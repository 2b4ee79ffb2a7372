// From the API's series to what a chart draws: one time axis, values or nothing, and how much of each bucket is known.
// Pure.

import type { Series } from '../api/generated.ts';

export interface Columns {
  // Start of each bucket, seconds since 1970, with no bucket left out.
  x: number[];
  // By series as given; null = not known.
  values: (number | null)[][];
  // 0 to 1 for each bucket: the part that readings of any of the series cover.
  coverage: number[];
  // Seconds.
  step: number;
}

interface Span {
  // Seconds since 1970.
  from: number;
  until: number;
}

// The step of series: the smallest distance between their points; `otherwise` where they have none.
export function stepOf(series: readonly Pick<Series, 'points'>[], otherwise: number): number {
  let step = Number.POSITIVE_INFINITY;
  for (const one of series) {
    for (let i = 1; i < one.points.length && i < 8; i++) {
      step = Math.min(step, (Date.parse(at(one, i)) - Date.parse(at(one, i - 1))) / 1000);
    }
  }
  return Number.isFinite(step) && step > 0 ? step : otherwise;
}

function at(series: Pick<Series, 'points'>, index: number): string {
  return series.points[index]?.time ?? '';
}

// `range` in milliseconds: buckets that the range covers only in part count as covered for that part.
export function toColumns(
  series: readonly Pick<Series, 'points'>[],
  step: number,
  range: { start: number; end: number },
): Columns {
  const times = new Set<number>();
  for (const one of series) for (const point of one.points) if (point.time) times.add(Date.parse(point.time) / 1000);
  const x = [...times].sort((a, b) => a - b);
  const index = new Map(x.map((time, i) => [time, i]));
  const covered = x.map(() => 0);
  // A bucket of which no series knows a value is not known, whatever its readings cover: it may lie between two of them.
  const known = x.map(() => false);
  const values = series.map((one) => {
    const row: (number | null)[] = x.map(() => null);
    for (const point of one.points) {
      const i = index.get(Date.parse(point.time ?? '') / 1000);
      if (i === undefined) continue;
      row[i] = point.value ?? null;
      if (point.value !== undefined) known[i] = true;
      covered[i] = Math.max(covered[i] ?? 0, point.covered_ms);
    }
    return row;
  });
  const coverage = covered.map((ms, i) => (known[i] ? partOf(x[i] ?? 0, ms, step, range) : 0));
  return { x, values, coverage, step };
}

// The covered part, 0 to 1, of what lies within the range of a bucket that begins at `time`.
export function partOf(time: number, coveredMs: number, step: number, range: { start: number; end: number }): number {
  const start = Math.max(time * 1000, range.start);
  const end = Math.min((time + step) * 1000, range.end);
  return end <= start ? 0 : Math.min(1, coveredMs / (end - start));
}

// Spans of which nothing is known, joined; the range's edges where no bucket is.
export function gapsOf(columns: Columns, range: { start: number; end: number }): Span[] {
  const spans: Span[] = [];
  const add = (from: number, until: number) => {
    const start = Math.max(from, range.start / 1000);
    const end = Math.min(until, range.end / 1000);
    if (end <= start) return;
    const last = spans.at(-1);
    if (last && start - last.until < 0.001) last.until = end;
    else spans.push({ from: start, until: end });
  };
  let next = range.start / 1000;
  columns.x.forEach((time, i) => {
    if (time > next) add(next, time);
    if ((columns.coverage[i] ?? 0) <= 0) add(time, time + columns.step);
    next = Math.max(next, time + columns.step);
  });
  add(next, range.end / 1000);
  return spans;
}

// Buckets that are known in part.
export function partsOf(columns: Columns): Span[] {
  return columns.x.flatMap((time, i) => {
    const share = columns.coverage[i] ?? 0;
    return share > 0 && share < 0.95 ? [{ from: time, until: time + columns.step }] : [];
  });
}

// The part of the range that is known, 0 to 1.
export function covered(columns: Columns, range: { start: number; end: number }): number {
  const whole = (range.end - range.start) / 1000;
  if (whole <= 0) return 0;
  let known = 0;
  columns.x.forEach((time, i) => {
    const inside = Math.min(time + columns.step, range.end / 1000) - Math.max(time, range.start / 1000);
    if (inside > 0) known += inside * (columns.coverage[i] ?? 0);
  });
  return Math.min(1, known / whole);
}

// Values laid on one another: the first at the bottom. A bucket that is known and lacks one series has none of it.
export function stack(values: readonly (number | null)[][], coverage: readonly number[]): (number | null)[][] {
  const sums: number[] = coverage.map(() => 0);
  return values.map((row) =>
    row.map((value, i) => {
      if ((coverage[i] ?? 0) <= 0) return null;
      sums[i] = (sums[i] ?? 0) + (value ?? 0);
      return sums[i] ?? null;
    }),
  );
}

// Average over the known time, each bucket by its part; null where nothing is known.
export function average(row: readonly (number | null)[], coverage: readonly number[]): number | null {
  let sum = 0;
  let weight = 0;
  row.forEach((value, i) => {
    const share = coverage[i] ?? 0;
    if (value === null || share <= 0) return;
    sum += value * share;
    weight += share;
  });
  return weight > 0 ? sum / weight : null;
}

// The largest by average stay; the others become one row named `other`, last.
export function keepLargest<T>(
  rows: readonly { row: (number | null)[]; of: T }[],
  coverage: readonly number[],
  most: number,
): { kept: { row: (number | null)[]; of: T }[]; other: (number | null)[] | null; others: number } {
  const order = [...rows].sort((a, b) => (average(b.row, coverage) ?? 0) - (average(a.row, coverage) ?? 0));
  const kept = order.slice(0, most);
  const rest = order.slice(most);
  if (rest.length === 0) return { kept, other: null, others: 0 };
  const other = coverage.map((share, i) => {
    if (share <= 0) return null;
    return rest.reduce((sum, { row }) => sum + (row[i] ?? 0), 0);
  });
  return { kept, other, others: rest.length };
}
