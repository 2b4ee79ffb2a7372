import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  before,
  dateTime,
  duration,
  fromInput,
  instantIn,
  parseInstant,
  resolveRange,
  stepFor,
  toInput,
  zoomOut,
} from './time.ts';

const now = Date.parse('2026-03-29T12:00:00Z');
const minute = 60_000;
const hour = 60 * minute;

test('instants are relative, absolute, or refused', () => {
  assert.equal(parseInstant('now', now), now);
  assert.equal(parseInstant('-15m', now), now - 15 * minute);
  assert.equal(parseInstant('-7d', now), now - 7 * 24 * hour);
  assert.equal(parseInstant('2026-03-29T10:03:00Z', now), Date.parse('2026-03-29T10:03:00Z'));
  assert.equal(parseInstant('2026-03-29T10:03:00+02:00', now), Date.parse('2026-03-29T08:03:00Z'));
  for (const bad of ['-1y', '-', 'yesterday', '10', '2026-13-40', '--1h', '-1h '])
    assert.equal(parseInstant(bad, now), undefined, bad);
});

test('a range that cannot be asked becomes one that can', () => {
  assert.deepEqual(resolveRange('-1h', 'now', now), { start: now - hour, end: now });
  assert.deepEqual(resolveRange('nonsense', 'now', now), { start: now - hour, end: now });
  assert.deepEqual(resolveRange('2026-03-29T11:00:00Z', '2026-03-29T10:00:00Z', now), {
    start: Date.parse('2026-03-29T09:00:00Z'),
    end: Date.parse('2026-03-29T10:00:00Z'),
  });
  const wide = resolveRange('2020-01-01', 'now', now);
  assert.equal(wide.end - wide.start, 400 * 24 * hour);
  // Whole seconds, so that the same view asks the same question.
  assert.deepEqual(resolveRange('-1h', 'now', now + 617), { start: now - hour, end: now });
});

test('zooming out doubles the range and does not reach into the future', () => {
  assert.deepEqual(zoomOut({ start: now - 3 * hour, end: now - 2 * hour }, now), {
    start: now - 3.5 * hour,
    end: now - 1.5 * hour,
  });
  assert.deepEqual(zoomOut({ start: now - hour, end: now }, now), { start: now - 2 * hour, end: now });
});

test('the span before is as long and touches', () => {
  assert.deepEqual(before({ start: now - hour, end: now }), { start: now - 2 * hour, end: now - hour });
});

test('a bucket is never shorter than a reading', () => {
  const range = { start: now - hour, end: now };
  assert.equal(stepFor(range, 5, 120), 30);
  assert.equal(stepFor(range, 60, 120), 60);
  assert.equal(stepFor(range, 61, 120), 120);
  assert.equal(stepFor({ start: now - 30 * 24 * hour, end: now }, 60, 120), 21_600);
  assert.equal(stepFor({ start: now - 400 * 24 * hour, end: now }, 60, 4), 86_400);
});

test('instants are written as their zone has them', () => {
  assert.equal(dateTime(now, 'utc'), '2026-03-29 12:00:00');
  assert.equal(instantIn(now, 'utc', { start: now - hour, end: now }), '12:00:00');
  assert.equal(fromInput(toInput(now, 'utc'), 'utc'), now);
  assert.equal(fromInput(toInput(now, 'local'), 'local'), now);
  assert.equal(fromInput('', 'utc'), undefined);
});

test('spans are short words', () => {
  assert.equal(duration(45_000), '45 s');
  assert.equal(duration(3 * minute), '3 min');
  assert.equal(duration(125 * minute), '2 h 5 min');
  assert.equal(duration(12 * 24 * hour), '12 d');
});
