import { createContext } from 'preact';
import { useContext } from 'preact/hooks';
import * as ask from '../api/asks.ts';
import type { Freshness, ListSourcesResponse, MissingPart, Source } from '../api/generated.ts';
import { type Answer, useAsk } from './query.ts';
import { type Range, stepFor, type Zone } from './time.ts';
import { hrefTo, type View } from './url.ts';

// What every page is given.
export interface Page {
  view: View;
  range: Range;
  zone: Zone;
}

export const SourcesContext = createContext<Answer<ListSourcesResponse>>({
  data: undefined,
  error: undefined,
  loading: true,
});

export const useSources = (): Answer<ListSourcesResponse> => useContext(SourcesContext);

// How a source is called in addresses and questions: by its name, or by its id where a second one has that name.
export function refOf(source: Source, all: readonly Source[]): string {
  return all.some((other) => other.name === source.name && other.id !== source.id) ? source.id : source.name;
}

// The same of a source by its id.
export function refOfId(id: string, all: readonly Source[]): string {
  const found = all.find((source) => source.id === id);
  return found ? refOf(found, all) : id;
}

export function findSource(ref: string, all: readonly Source[]): Source | undefined {
  return all.find((source) => source.id === ref) ?? all.find((source) => source.name === ref);
}

// What of a source cannot be collected though its server is set up for it.
export const broken = (source: Source): MissingPart[] => source.not_collected.filter((part) => !part.off);

export const sourceHref = (ref: string, tab = ''): string =>
  hrefTo(`/s/${encodeURIComponent(ref)}${tab ? `/${tab}` : ''}`);
export const collectorHref = (id: string): string => hrefTo(`/collectors/${encodeURIComponent(id)}`);
export const statementHref = (ref: string, id: string): string => hrefTo(`/s/${encodeURIComponent(ref)}/q/${id}`);

export interface Readings {
  freshness: Answer<{ freshness: Freshness[] }>;
  // Seconds between readings of a metric; undefined while not known.
  intervalOf: (metric: string) => number | undefined;
  // Step for charts of about so many points; undefined until it can be chosen.
  step: (points: number, metric?: string) => number | undefined;
}

// How often a source was read in the range: charts take no buckets shorter than that.
export function useReadings(page: Page, source: string): Readings {
  const freshness = useAsk(ask.freshness(page.range, [source]), page.view.now);
  const span = (page.range.end - page.range.start) / 1000;
  const intervalOf = (metric: string) => {
    const found = freshness.data?.freshness.find((one) => one.metric === metric);
    if (!found || found.frames < 2) return undefined;
    return Math.max(1, Math.round((found.completeness * span) / found.frames));
  };
  const step = (points: number, metric = 'activity') => {
    if (!freshness.data && !freshness.error) return undefined;
    const interval = intervalOf(metric) ?? 60;
    // Readings come a little early or late: short buckets are two of them wide.
    return stepFor(page.range, interval < 60 ? interval * 2 : interval, points);
  };
  return { freshness, intervalOf, step };
}
