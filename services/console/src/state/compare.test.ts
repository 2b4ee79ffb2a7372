import assert from 'node:assert/strict';
import { test } from 'node:test';
import { beganOf, mainCause, statusOf, toneOf } from './compare.ts';

test('how a statement stands', () => {
  const of = (improvement_status: string, load_status = 'same') => ({ improvement_status, load_status });
  assert.equal(statusOf(of('degraded', 'more')), 'slower');
  assert.equal(statusOf(of('improved', 'same')), 'faster');
  assert.equal(statusOf(of('unchanged', 'more')), 'more load');
  assert.equal(statusOf(of('unchanged', 'less')), 'less load');
  assert.equal(statusOf(of('unchanged')), 'as before');
  assert.equal(statusOf(of('new', 'more')), 'new');
  assert.equal(statusOf(of('gone', 'less')), 'gone');
  assert.equal(toneOf(of('degraded')), 'bad-text');
  assert.equal(toneOf(of('unchanged')), '');
});

test('the first cause, or that there is none', () => {
  const cause = { kind: 'spills', summary: 'temporary blocks grew', evidence: [] };
  assert.equal(mainCause({ improvement_status: 'degraded', causes: [cause] }), 'temporary blocks grew');
  assert.equal(mainCause({ improvement_status: 'degraded', causes: [] }), 'nothing stored explains it');
  assert.equal(mainCause({ improvement_status: 'unchanged', causes: [] }), '');
});

test('when it began', () => {
  assert.equal(beganOf({ since: '2026-01-01T10:30:00Z' }), Date.UTC(2026, 0, 1, 10, 30));
  assert.equal(beganOf({}), undefined);
});
