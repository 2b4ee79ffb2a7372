// One statement in two windows of equal length. Pure.

export interface Figures {
  // Milliseconds.
  total_time: number;
  calls: number;
  mean_time: number;
}

export interface Windows<T extends Figures = Figures> {
  former: T | undefined;
  now: T | undefined;
}

export const timeOf = (figures: Figures | undefined): number => figures?.total_time ?? 0;
export const callsOf = (figures: Figures | undefined): number => figures?.calls ?? 0;
// undefined without a call.
export const meanOf = (figures: Figures | undefined): number | undefined =>
  figures && figures.calls > 0 ? figures.mean_time : undefined;

// Why it takes more or less time than before: the larger of what its number of calls and what each call brings.
export function causeOf(windows: Windows): string {
  const { former, now } = windows;
  if (callsOf(former) === 0) return callsOf(now) > 0 ? 'new' : '';
  if (callsOf(now) === 0) return 'gone';
  const byCalls = (callsOf(now) - callsOf(former)) * (meanOf(former) ?? 0);
  const byMean = timeOf(now) - timeOf(former) - byCalls;
  const little = timeOf(former) * 0.05;
  if (Math.abs(byMean) <= little && Math.abs(byCalls) <= little) return 'as before';
  if (Math.abs(byMean) >= Math.abs(byCalls)) return byMean > 0 ? 'slower' : 'faster';
  return byCalls > 0 ? 'more calls' : 'fewer calls';
}
