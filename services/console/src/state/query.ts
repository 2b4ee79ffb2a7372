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
  data: unknown;
}

// `at` = instant of the refresh: with another one the same question is asked again. undefined asks nothing.
export function useAsk<T>(ask: Ask<T> | undefined, at: number): Answer<T> {
  const [kept, keep] = useState<Kept | undefined>();
  const [failed, fail] = useState<{ key: string; error: ApiError } | undefined>();
  const key = ask?.key;
  useEffect(() => {
    if (!ask) return;
    const abort = new AbortController();
    ask.run(abort.signal).then(
      (data) => {
        if (abort.signal.aborted) return;
        keep({ key: ask.key, at, data });
        fail(undefined);
      },
      (error) => {
        if (!abort.signal.aborted) fail({ key: ask.key, error });
      },
    );
    return () => abort.abort();
  }, [key, at]);
  const error = failed && failed.key === key ? failed.error : undefined;
  // The kind of question is its path: an answer about another metric or source says nothing here.
  const same = kept && key !== undefined && shapeOf(kept.key) === shapeOf(key);
  return {
    data: same ? (kept.data as T) : undefined,
    error,
    loading: key !== undefined && !error && (kept?.key !== key || kept.at !== at),
  };
}

// The same for any number of questions that are alike; the answers in their order.
export function useAsks<T>(asks: readonly Ask<T>[], at: number): Answer<T>[] {
  const [answers, set] = useState<ReadonlyMap<string, { at: number; data?: T; error?: ApiError }>>(new Map());
  const keys = asks.map((ask) => ask.key).join('\n');
  useEffect(() => {
    const abort = new AbortController();
    const keep = (key: string, answer: { data?: T; error?: ApiError }) => {
      if (abort.signal.aborted) return;
      // What is no longer asked is forgotten.
      const wanted = new Set(asks.map((ask) => ask.key));
      set((all) => new Map([...all].filter(([one]) => wanted.has(one))).set(key, { at, ...answer }));
    };
    for (const ask of asks) {
      ask.run(abort.signal).then(
        (data) => keep(ask.key, { data }),
        (error) => keep(ask.key, { error }),
      );
    }
    return () => abort.abort();
  }, [keys, at]);
  return asks.map((ask) => {
    const found = answers.get(ask.key);
    return { data: found?.data, error: found?.error, loading: found?.at !== at };
  });
}

// The question without its range.
function shapeOf(key: string): string {
  return key.replace(/([?&])(start|end|at|step)=[^&]*/g, '$1');
}
