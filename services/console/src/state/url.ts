// The address is the state: the page in its path; range, zone, refresh and filters in its query. Back, forward and shared
// links work because nothing of this is kept elsewhere.

import { useEffect, useState } from 'preact/hooks';
import { iso, type Range, resolveRange, type Zone } from './time.ts';

export interface View {
  path: string;
  query: URLSearchParams;
  // The instant that relative ranges count from; moves with every refresh.
  now: number;
}

// What stays when another page is opened.
const kept = ['from', 'to', 'tz', 'refresh'];

const read = (): View => ({ path: location.pathname, query: new URLSearchParams(location.search), now: Date.now() });

let view: View = read();
const listeners = new Set<() => void>();

// `sameInstant`: what is filtered or sorted in the page asks nothing anew.
function publish(sameInstant = false) {
  view = sameInstant ? { ...read(), now: view.now } : read();
  for (const listener of listeners) listener();
}

addEventListener('popstate', () => publish());

export function useView(): View {
  const [seen, see] = useState(view);
  useEffect(() => {
    const listener = () => see(view);
    listeners.add(listener);
    listener();
    return () => {
      listeners.delete(listener);
    };
  }, []);
  return seen;
}

// Ask everything again, relative ranges from now.
export const refreshNow = (): void => publish();

type Changes = Record<string, string | readonly string[] | undefined>;

function merged(query: URLSearchParams, changes: Changes): string {
  const next = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes)) {
    next.delete(name);
    for (const one of typeof value === 'string' ? [value] : (value ?? [])) if (one !== '') next.append(name, one);
  }
  const text = next.toString().replaceAll('%3A', ':').replaceAll('%3D', '=');
  return text ? `?${text}` : '';
}

// Address of a page with the range and the zone of this one.
export function hrefTo(path: string, changes: Changes = {}): string {
  const base = new URLSearchParams();
  for (const name of kept) for (const value of view.query.getAll(name)) base.append(name, value);
  return path + merged(base, changes);
}

// This page with other words in its query.
const hrefWith = (changes: Changes): string => view.path + merged(view.query, changes);

export function go(href: string, how: 'push' | 'replace' = 'push') {
  if (how === 'push') history.pushState(null, '', href);
  else history.replaceState(null, '', href);
  publish();
  if (how === 'push') scrollTo(0, 0);
}

// Changes the query of this page, and stays where it is scrolled to.
export function change(changes: Changes, how: 'push' | 'replace' = 'push') {
  const href = hrefWith(changes);
  if (how === 'push') history.pushState(null, '', href);
  else history.replaceState(null, '', href);
  publish(how === 'replace');
}

export const rangeOf = (of: View): Range =>
  resolveRange(of.query.get('from') ?? '-1h', of.query.get('to') ?? 'now', of.now);
export const isRelative = (of: View): boolean =>
  (of.query.get('from') ?? '-1h').startsWith('-') && (of.query.get('to') ?? 'now') === 'now';
export const zoneOf = (of: View): Zone => (of.query.get('tz') === 'utc' ? 'utc' : 'local');

export const refreshChoices = [
  { value: '', label: 'off' },
  { value: '10', label: '10 s' },
  { value: '60', label: '1 min' },
] as const;

export function setRange(range: Range) {
  change({ from: iso(range.start), to: iso(range.end) });
}

// Where a click on a link inside the console goes; clicks for new tabs and to other places are the browser's.
export function onLinkClick(event: MouseEvent) {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
    return;
  const link = (event.target as Element | null)?.closest('a');
  if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
  if (link.pathname.startsWith('/api/')) return;
  // A place on this page: the browser goes there, and gives it the focus.
  if (link.getAttribute('href')?.startsWith('#')) return;
  event.preventDefault();
  go(link.pathname + link.search);
}
