// Waits as a tree at an instant, and as lanes over time. Pure.

import type { BlockingEdge, BlockingParty } from '../api/generated.ts';

export interface Node {
  party: BlockingParty;
  key: string;
  // The wait of this session for the one above it; absent at the root.
  edge?: BlockingEdge;
  children: Node[];
  // Sessions below.
  waiting: number;
}

export const keyOf = (party: BlockingParty | undefined): string => (party ? party.gid || String(party.pid) : '');
export const start = (edge: BlockingEdge): number => Date.parse(edge.from ?? '');
export const end = (edge: BlockingEdge): number => Date.parse(edge.until ?? '');

export const waitsAt = (edges: readonly BlockingEdge[], at: number): BlockingEdge[] =>
  edges.filter((edge) => start(edge) <= at && at <= end(edge));

// Roots with most sessions behind them first. A cycle begins at any of its sessions.
export function treeOf(edges: readonly BlockingEdge[]): Node[] {
  const waiters = new Map<string, BlockingEdge[]>();
  const parties = new Map<string, BlockingParty>();
  const blocked = new Set<string>();
  for (const edge of edges) {
    if (!edge.blocked || !edge.blocking) continue;
    const blocking = keyOf(edge.blocking);
    parties.set(blocking, edge.blocking);
    parties.set(keyOf(edge.blocked), parties.get(keyOf(edge.blocked)) ?? edge.blocked);
    waiters.set(blocking, [...(waiters.get(blocking) ?? []), edge]);
    blocked.add(keyOf(edge.blocked));
  }
  const seen = new Set<string>();
  const grow = (key: string, edge: BlockingEdge | undefined): Node => {
    const first = !seen.has(key);
    seen.add(key);
    const children = first ? (waiters.get(key) ?? []).map((below) => grow(keyOf(below.blocked), below)) : [];
    children.sort((a, b) => (a.edge ? start(a.edge) : 0) - (b.edge ? start(b.edge) : 0));
    const party = edge?.blocked ?? parties.get(key);
    return {
      party: party as BlockingParty,
      key,
      ...(edge ? { edge } : {}),
      children,
      waiting: children.reduce((sum, child) => sum + 1 + child.waiting, 0),
    };
  };
  const roots = [...waiters.keys()].filter((key) => !blocked.has(key)).map((key) => grow(key, undefined));
  // What is left is in cycles.
  for (const key of waiters.keys()) if (!seen.has(key)) roots.push(grow(key, undefined));
  return roots.sort((a, b) => b.waiting - a.waiting);
}

// The first instant at which most sessions waited; undefined without waits.
export function worstInstant(edges: readonly BlockingEdge[]): number | undefined {
  let most = 0;
  let at: number | undefined;
  for (const edge of edges) {
    const many = new Set(waitsAt(edges, start(edge)).map((one) => keyOf(one.blocked))).size;
    if (many > most) {
      most = many;
      at = start(edge);
    }
  }
  return at;
}

interface Lane {
  key: string;
  label: string;
  // Statement of who held.
  text: string;
  seconds: number;
  bars: BlockingEdge[];
}

// A lane for each kind of session that held others (user, application, statement), the one that held them longest first.
export function lanesOf(edges: readonly BlockingEdge[]): Lane[] {
  const lanes = new Map<string, Lane>();
  for (const edge of edges) {
    const root = edge.root ?? edge.blocking;
    const who = root ? root.gid || `${root.user}${root.application ? ` (${root.application})` : ''}` : 'cycle';
    const key = `${who}\u0000${root?.query_id || root?.query_text || ''}`;
    const lane = lanes.get(key) ?? { key, label: who, text: root?.query_text ?? '', bars: [], seconds: 0 };
    lane.bars.push(edge);
    lane.seconds += edge.blocked_seconds;
    lanes.set(key, lane);
  }
  return [...lanes.values()].sort((a, b) => b.seconds - a.seconds);
}

export function nameOf(party: BlockingParty): string {
  if (party.gid) return `prepared ${party.gid}`;
  return `${party.pid}${party.user ? ` ${party.user}` : ''}${party.application ? ` (${party.application})` : ''}`;
}
