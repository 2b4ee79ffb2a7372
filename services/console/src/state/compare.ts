// What the answer about two windows says of a statement, in words. Pure.

import type { QueryComparison } from '../api/generated.ts';

type Stated = Pick<QueryComparison, 'improvement_status' | 'load_status'>;

const words: Record<string, string> = { degraded: 'slower', improved: 'faster', new: 'new', gone: 'gone' };

export function statusOf(row: Stated): string {
  const word = words[row.improvement_status];
  if (word !== undefined) return word;
  return { more: 'more load', less: 'less load' }[row.load_status] ?? 'as before';
}

export function toneOf(row: Stated): string {
  return { slower: 'bad-text', faster: 'good-text', new: 'warn-text', 'more load': 'warn-text' }[statusOf(row)] ?? '';
}

// The first cause; of a change that no evidence explains, that it is so.
export function mainCause(row: Pick<QueryComparison, 'improvement_status' | 'causes'>): string {
  const [first] = row.causes;
  if (first) return first.summary;
  return row.improvement_status === 'degraded' || row.improvement_status === 'improved'
    ? 'nothing stored explains it'
    : '';
}

// Milliseconds since 1970; undefined for what did not change.
export function beganOf(row: Pick<QueryComparison, 'since'>): number | undefined {
  return row.since === undefined ? undefined : Date.parse(row.since);
}
