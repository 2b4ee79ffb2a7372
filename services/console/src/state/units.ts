// Figures with their units. Pure.

// U+2009: between a figure and its unit.
const thin = '\u2009';
const grouping = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

// Up to three figures that count; thousands apart.
export function number(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size >= 100) return grouping.format(value);
  if (size >= 10) return trim(value.toFixed(1));
  if (size >= 0.01) return trim(value.toFixed(2));
  return value.toPrecision(1);
}

function trim(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

function scaled(value: number, base: number, names: readonly string[]): string {
  let size = value;
  let at = 0;
  while (Math.abs(size) >= base && at < names.length - 1) {
    size /= base;
    at += 1;
  }
  return `${number(size)}${thin}${names[at]}`;
}

const bytesNames = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;
const countNames = ['', 'k', 'M', 'G', 'T'] as const;

export const bytes = (value: number): string => scaled(value, 1024, bytesNames);

// Milliseconds as the unit that fits.
export function milliseconds(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return `0${thin}ms`;
  if (size < 0.1) return `${number(value * 1000)}${thin}µs`;
  if (size < 1000) return `${number(value)}${thin}ms`;
  if (size < 120_000) return `${number(value / 1000)}${thin}s`;
  if (size < 7_200_000) return `${number(value / 60_000)}${thin}min`;
  if (size < 172_800_000) return `${number(value / 3_600_000)}${thin}h`;
  return `${number(value / 86_400_000)}${thin}d`;
}

// 12,345 as it is, 1.2 M short.
export function count(value: number): string {
  return Math.abs(value) < 100_000
    ? number(value)
    : scaled(value, 1000, countNames).replace(new RegExp(`${thin}$`), '');
}

export function percent(share: number): string {
  const value = share * 100;
  // What is not quite all is not "100 %", what is not quite nothing not "0 %".
  if (share < 1 && value > 99.9) return `99.9${thin}%`;
  if (share > 0 && value < 0.1) return `<${thin}0.1${thin}%`;
  return `${trim(value.toFixed(1))}${thin}%`;
}

// A figure in a unit of the API: bytes, us, ms, 1, calls, rows, blocks, with /s for rates, and `sessions`, `share`.
export function withUnit(value: number | undefined | null, unit: string): string {
  if (value === undefined || value === null) return 'unknown';
  const rate = unit.endsWith('/s');
  const base = rate ? unit.slice(0, -2) : unit;
  const per = rate ? '/s' : '';
  switch (base) {
    case 'bytes':
      return bytes(value) + per;
    case 'us':
      return rate ? `${milliseconds(value / 1000)}/s` : milliseconds(value / 1000);
    case 'ms':
      return milliseconds(value) + per;
    case 's':
      return milliseconds(value * 1000) + per;
    case 'share':
      return percent(value);
    case 'blocks':
      return `${count(value)}${thin}blk${per}`;
    case '1':
    case '':
    case 'sessions':
    case 'calls':
    case 'processors':
    case 'rows':
    case 'xacts':
      return rate ? `${count(value)}${per}` : count(value);
    default:
      return `${count(value)}${thin}${base}${per}`;
  }
}

// A value of pg_settings in its unit: 16384 8kB is 128 MiB. As it stands where it has none, or says something else than a size
// or a time.
export function settingText(value: string | undefined, unit: string): string {
  if (value === undefined) return 'NULL';
  const figure = Number(value);
  const size = /^(\d*)(B|kB|MB|GB|TB)$/.exec(unit);
  if (value === '' || Number.isNaN(figure)) return value;
  if (figure < 0 || (figure === 0 && unit !== '')) return value;
  if (size) {
    const factor = { B: 1, kB: 1024, MB: 1024 ** 2, GB: 1024 ** 3, TB: 1024 ** 4 }[size[2] as 'B'];
    return bytes(figure * Number(size[1] || 1) * factor);
  }
  const time = { us: 0.001, ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 }[unit];
  return time ? milliseconds(figure * time) : unit ? `${value} ${unit}` : value;
}

// From 150020 to 15.20; empty for none.
export function serverVersion(num: number): string {
  return num > 0 ? `${Math.floor(num / 10_000)}.${num % 10_000}` : '';
}

// -25 % … +300 %; words where the former figure was nothing.
export function change(now: number, then: number): string {
  if (then === 0) return now === 0 ? '' : 'new';
  const share = now / then - 1;
  if (Math.abs(share) < 0.005) return `0${thin}%`;
  if (share >= 9.995) return `×${number(now / then)}`;
  return `${share > 0 ? '+' : '−'}${Math.round(Math.abs(share) * 100)}${thin}%`;
}
