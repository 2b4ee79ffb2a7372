import assert from 'node:assert/strict';
import { test } from 'node:test';
import { causeOf } from './compare.ts';

const of = (calls: number, mean: number) => ({ calls, mean_time: mean, total_time: calls * mean });

test('why a statement takes more or less time', () => {
  assert.equal(causeOf({ former: of(100, 2), now: of(100, 4) }), 'slower');
  assert.equal(causeOf({ former: of(100, 4), now: of(100, 2) }), 'faster');
  assert.equal(causeOf({ former: of(100, 2), now: of(300, 2) }), 'more calls');
  assert.equal(causeOf({ former: of(300, 2), now: of(100, 2) }), 'fewer calls');
  assert.equal(causeOf({ former: of(100, 2), now: of(102, 2.01) }), 'as before');
  // Twice as slow and half as often: both are said by the larger part.
  assert.equal(causeOf({ former: of(100, 2), now: of(50, 4) }), 'slower');
});

test('what is in one window alone', () => {
  assert.equal(causeOf({ former: undefined, now: of(3, 1) }), 'new');
  assert.equal(causeOf({ former: of(3, 1), now: undefined }), 'gone');
  assert.equal(causeOf({ former: of(3, 1), now: of(0, 0) }), 'gone');
  assert.equal(causeOf({ former: of(0, 0), now: of(0, 0) }), '');
});
