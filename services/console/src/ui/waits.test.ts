import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockingEdge, BlockingParty } from '../api/generated.ts';
import { lanesOf, treeOf, waitsAt, worstInstant } from './waits.ts';

const at = (second: number) => Date.parse('2026-01-01T10:00:00Z') + second * 1000;
const party = (pid: number): BlockingParty => ({
  pid,
  gid: '',
  user: 'app',
  application: pid < 10 ? 'batch' : 'shop',
  state: 'active',
  query_id: '',
  query_text: `q${pid}`,
  query_text_truncated: false,
});
function edge(blocked: number, blocking: number, from: number, until: number, root = blocking): BlockingEdge {
  return {
    source_id: 's',
    source_name: 's',
    from: new Date(at(from)).toISOString(),
    until: new Date(at(until)).toISOString(),
    lasts: false,
    blocked_seconds: until - from,
    blocked: party(blocked),
    blocking: party(blocking),
    root: party(root),
    depth: 1,
    cycle: false,
    database_name: 'd',
    relation: 'public.t',
    lock_type: 'relation',
    lock_mode: 'ShareLock',
    wait_event: 'relation',
  };
}

test('the tree begins with who waits for nobody, most waiters first', () => {
  const edges = [edge(20, 30, 0, 10), edge(11, 1, 0, 10), edge(12, 11, 2, 10, 1), edge(13, 1, 4, 5)];
  assert.equal(waitsAt(edges, at(7)).length, 3);
  const tree = treeOf(waitsAt(edges, at(4)));
  assert.deepEqual(
    tree.map((node) => [node.key, node.waiting, node.children.map((child) => child.key)]),
    [
      ['1', 3, ['11', '13']],
      ['30', 1, ['20']],
    ],
  );
  assert.deepEqual(
    tree[0]?.children[0]?.children.map((child) => child.key),
    ['12'],
  );
});

test('a cycle is shown once and ends', () => {
  const tree = treeOf([edge(1, 2, 0, 5), edge(2, 1, 0, 5)]);
  assert.equal(tree.length, 1);
  assert.equal(tree[0]?.children[0]?.children[0]?.children.length, 0);
});

test('the worst instant is when most sessions waited', () => {
  assert.equal(
    worstInstant([edge(11, 1, 0, 100), edge(12, 1, 50, 60), edge(13, 1, 55, 70), edge(14, 1, 90, 95)]),
    at(55),
  );
  assert.equal(worstInstant([]), undefined);
});

test('lanes join the same kind of session', () => {
  const lanes = lanesOf([edge(11, 1, 0, 10), edge(12, 1, 20, 30), edge(13, 2, 0, 5)]);
  assert.deepEqual(
    lanes.map((lane) => [lane.label, lane.bars.length, lane.seconds]),
    [
      ['app (batch)', 2, 20],
      ['app (batch)', 1, 5],
    ],
  );
});
