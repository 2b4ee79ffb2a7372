// Calls that change something. After one that succeeds everything on the page is asked again; what failed last is said.

import { useState } from 'preact/hooks';
import { ApiError } from '../api/client.ts';
import { refreshNow } from './url.ts';

export type Run = (work: () => Promise<unknown>) => Promise<void>;

export function useRun(): [ApiError | undefined, Run] {
  const [problem, setProblem] = useState<ApiError | undefined>();
  const run: Run = async (work) => {
    setProblem(undefined);
    try {
      await work();
      refreshNow();
    } catch (error) {
      setProblem(error instanceof ApiError ? error : new ApiError(0, String(error)));
    }
  };
  return [problem, run];
}
