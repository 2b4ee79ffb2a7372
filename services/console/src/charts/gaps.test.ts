import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Series } from '../api/generated.ts';
import { average, covered, gapsOf, keepLargest, partsOf, stack, stepOf, toColumns } from './gaps.ts';

const start = Date.parse('2026-01-01T10:00:00Z');
const minute = 60_000;

// A point a minute: a value, null = covered without a value, undefined = not covered; a pair says how many ms are covered.
function series(
  values: readonly (number | null | undefined | readonly [number, number])[],
  at = start,
): Pick<Series, 'points'> {
  return {
    points: values.map((value, i) => ({
      time: new Date(at + i * minute).toISOString(),
      covered_ms: value === undefined ? 0 : typeof value === 'object' && value !== null ? value[1] : minute,
      lower_bound: false,
      interpolated: false,
      ...(typeof value === 'number'
        ? { value }
        : typeof value === 'object' && value !== null
          ? { value: value[0] }
          : {}),
    })),
  };
}
const range = (minutes: number) => ({ start, end: start + minutes * minute });
const from = start / 1000;

test('a gap is a gap: neither zero nor joined', () => {
  const columns = toColumns([series([1, undefined, undefined, 4])], 60, range(4));
  assert.deepEqual(columns.values, [[1, null, null, 4]]);
  assert.deepEqual(columns.coverage, [1, 0, 0, 1]);
  assert.deepEqual(gapsOf(columns, range(4)), [{ from: from + 60, until: from + 180 }]);
});

test('what no bucket speaks of is a gap too', () => {
  const columns = toColumns([series([1, 2], start + 2 * minute)], 60, range(6));
  assert.deepEqual(gapsOf(columns, range(6)), [
    { from, until: from + 120 },
    { from: from + 240, until: from + 360 },
  ]);
  assert.deepEqual(gapsOf(toColumns([], 60, range(6)), range(6)), [{ from, until: from + 360 }]);
});

test('a covered bucket of which no series has a value is not known', () => {
  const columns = toColumns([series([1, null, 3]), series([2, null, null])], 60, range(3));
  assert.deepEqual(columns.coverage, [1, 0, 1]);
  assert.deepEqual(gapsOf(columns, range(3)), [{ from: from + 60, until: from + 120 }]);
  assert.deepEqual(stack(columns.values, columns.coverage), [
    [1, null, 3],
    [3, null, 3],
  ]);
});

test('a bucket known in part is neither whole nor a gap', () => {
  const columns = toColumns([series([1, [2, 15_000], 3])], 60, range(3));
  assert.deepEqual(columns.coverage, [1, 0.25, 1]);
  assert.deepEqual(gapsOf(columns, range(3)), []);
  assert.deepEqual(partsOf(columns), [{ from: from + 60, until: from + 120 }]);
  assert.equal(covered(columns, range(3)), 0.75);
});

test('a bucket at the edge counts for the part of it that was asked', () => {
  const half = { start: start + 30_000, end: start + 90_000 };
  const columns = toColumns(
    [
      series([
        [1, 30_000],
        [2, 30_000],
      ]),
    ],
    60,
    half,
  );
  assert.deepEqual(columns.coverage, [1, 1]);
  assert.equal(covered(columns, half), 1);
});

test('series with different times share one axis', () => {
  const columns = toColumns([series([1, 2]), series([5], start + minute)], 60, range(2));
  assert.deepEqual(columns.values, [
    [1, 2],
    [null, 5],
  ]);
  assert.equal(stepOf([series([1]), series([1, 2, 3])], 5), 60);
  assert.equal(stepOf([series([1])], 5), 5);
});

test('a stack adds what is known and says nothing of gaps', () => {
  const columns = toColumns([series([1, undefined, 3]), series([10, undefined, null])], 60, range(3));
  assert.deepEqual(stack(columns.values, columns.coverage), [
    [1, null, 3],
    [11, null, 3],
  ]);
});

test('an average weighs each bucket by what is known of it', () => {
  assert.equal(average([10, 20, null], [1, 0.5, 0]), 40 / 3);
  assert.equal(average([null, null], [0, 0]), null);
  // A zero is a value.
  assert.equal(average([0, 10], [1, 1]), 5);
});

test('the largest stay and the rest adds up', () => {
  const rows = [1, 5, 3, 2].map((value, i) => ({ row: [value, null], of: i }));
  const { kept, other, others } = keepLargest(rows, [1, 0], 2);
  assert.deepEqual(
    kept.map(({ of }) => of),
    [1, 2],
  );
  assert.deepEqual(other, [3, null]);
  assert.equal(others, 2);
  assert.equal(keepLargest(rows, [1, 0], 4).other, null);
});
