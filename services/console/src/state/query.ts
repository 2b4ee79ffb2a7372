// Questions of a page: asked together, cancelled when the page is left, asked again at each refresh. The last answer stays
// on the screen until the next one is there.

import { useEffect, useState } from 'preact/hooks';
import type { Ask } from '../api/asks.ts';
import type { ApiError } from '../api/client.ts';

export interface Answer<T> {
  data: T | undefined;
  error: ApiError | undefined;
  // The data is of another question, or of none yet.
  loading: boolean;
}

interface Kept {
  key: string;
  at: number;
  data?: unknown;
  error?: ApiError;
}

// `at` = instant of the refresh: with another one the same question is asked again. undefined asks nothing.
export function useAsk<T>(ask: Ask<T> | undefined, at: number): Answer<T> {
  const [answer] = useAsks(ask ? [ask] : [], at);
  return answer ?? { data: undefined, error: undefined, loading: false };
}

// The same for any number of questions; the answers in their order.
export function useAsks<T>(asks: readonly Ask<T>[], at: number): Answer<T>[] {
  // By place and kind of question, which is its path: an answer about another metric or source says nothing here.
  const [kept, set] = useState<ReadonlyMap<string, Kept>>(new Map());
  const places = asks.map((ask, i) => `${i} ${shapeOf(ask.key)}`);
  const keys = asks.map((ask) => ask.key).join('\n');
  useEffect(() => {
    const abort = new AbortController();
    asks.forEach((ask, i) => {
      const place = places[i] as string;
      const keep = (answer: { data?: unknown; error?: ApiError }) => {
        if (abort.signal.aborted) return;
        set((all) => {
          // What is no longer asked is forgotten; data stays when the same is refused later.
          const still = new Map([...all].filter(([one]) => places.includes(one)));
          return still.set(place, { data: all.get(place)?.data, ...answer, key: ask.key, at });
        });
      };
      ask.run(abort.signal).then(
        (data) => keep({ data }),
        (error) => keep({ error }),
      );
    });
    return () => abort.abort();
  }, [keys, at]);
  return asks.map((ask, i) => {
    const found = kept.get(places[i] as string);
    const error = found?.key === ask.key ? found.error : undefined;
    return {
      data: found?.data as T | undefined,
      error,
      loading: !error && (found?.key !== ask.key || found.at !== at),
    };
  });
}

// The question without its range.
function shapeOf(key: string): string {
  return key.replace(/([?&])(start|end|at|step)=[^&]*/g, '$1');
}
