// Ranges of time, steps and how instants are written. Pure. Instants are milliseconds since 1970.

export type Zone = 'local' | 'utc';

export interface Range {
  start: number;
  end: number;
}

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const unitMs: Record<string, number> = { s: 1000, m: minute, h: hour, d: day, w: 7 * day };

// What the API refuses beyond.
const maxSpan = 400 * day;

export const presets = [
  { from: '-15m', label: '15 min' },
  { from: '-1h', label: '1 hour' },
  { from: '-6h', label: '6 hours' },
  { from: '-24h', label: '24 hours' },
  { from: '-7d', label: '7 days' },
  { from: '-30d', label: '30 days' },
] as const;

// `now`, `-15m`, or an instant of RFC 3339; a local one without a zone. undefined = cannot be read.
export function parseInstant(text: string, now: number): number | undefined {
  if (text === 'now' || text === '') return now;
  const relative = /^-(\d{1,6})([smhdw])$/.exec(text);
  if (relative) return now - Number(relative[1]) * (unitMs[relative[2] as string] as number);
  if (!/^\d{4}-\d{2}-\d{2}/.test(text)) return undefined;
  const parsed = Date.parse(text);
  return Number.isNaN(parsed) ? undefined : parsed;
}

// A range that can be asked: in order, of at least a second and at most 400 days; the last hour where the words say none.
export function resolveRange(from: string, to: string, now: number): Range {
  const end = parseInstant(to, now) ?? now;
  const start = parseInstant(from, now) ?? end - hour;
  const whole = (ms: number) => Math.floor(ms / 1000) * 1000;
  if (start >= end) return { start: whole(end - hour), end: whole(end) };
  return { start: whole(Math.max(start, end - maxSpan)), end: Math.max(whole(end), whole(start) + 1000) };
}

// The range as wide again to both sides, not beyond now.
export function zoomOut(range: Range, now: number): Range {
  const half = (range.end - range.start) / 2;
  const end = Math.min(range.end + half, now);
  const start = Math.max(end - 4 * half, end - maxSpan);
  return { start: Math.floor(start / 1000) * 1000, end: Math.floor(end / 1000) * 1000 };
}

// The span of the same length before it.
export function before(range: Range): Range {
  return { start: range.start - (range.end - range.start), end: range.start };
}

const steps = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400];

// Seconds of a bucket: about `points` in the range, and never shorter than a reading lasts, because a bucket between two
// readings says nothing.
export function stepFor(range: Range, intervalSeconds: number, points: number): number {
  const wanted = Math.max((range.end - range.start) / 1000 / points, intervalSeconds);
  return steps.find((step) => step >= wanted * 0.999) ?? 86_400;
}

export const iso = (ms: number): string => new Date(ms).toISOString().replace('.000Z', 'Z');

const formatters = new Map<string, Intl.DateTimeFormat>();
function formatter(zone: Zone, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${zone}${JSON.stringify(options)}`;
  let found = formatters.get(key);
  if (!found) {
    found = new Intl.DateTimeFormat('sv-SE', { ...options, ...(zone === 'utc' ? { timeZone: 'UTC' } : {}) });
    formatters.set(key, found);
  }
  return found;
}

// 2026-01-31 14:05:09
export function dateTime(ms: number, zone: Zone): string {
  return formatter(zone, { dateStyle: 'short', timeStyle: 'medium' }).format(ms);
}
// 14:05:09
export function clockTime(ms: number, zone: Zone): string {
  return formatter(zone, { timeStyle: 'medium' }).format(ms);
}
// As much of the instant as a range of that span needs.
export function instantIn(ms: number, zone: Zone, range: Range): string {
  const span = range.end - range.start;
  if (span <= 12 * hour) return clockTime(ms, zone);
  if (span <= 4 * day) return formatter(zone, { weekday: 'short', hour: '2-digit', minute: '2-digit' }).format(ms);
  return formatter(zone, { month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit' }).format(ms);
}

export function zoneName(zone: Zone): string {
  return zone === 'utc' ? 'UTC' : Intl.DateTimeFormat().resolvedOptions().timeZone;
}

// "45 s", "3 min", "2 h 5 min", "12 d": for ages and spans.
export function duration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.round(hours / 24)} d`;
}

// Value of <input type="datetime-local">, and back.
export function toInput(ms: number, zone: Zone): string {
  return dateTime(ms, zone).replace(' ', 'T');
}
export function fromInput(text: string, zone: Zone): number | undefined {
  const parsed = Date.parse(zone === 'utc' ? `${text}Z` : text);
  return Number.isNaN(parsed) ? undefined : parsed;
}
