// The REST API: every route from the suite's OpenAPI document, and requests tried with this session. The viewer is loaded by this
// page alone.

import { useEffect, useRef, useState } from 'preact/hooks';
import { ApiError } from '../api/client.ts';
import { currentUser } from '../api/session.ts';
import { documentPath, showViewer } from '../api/viewer.ts';
import { useDark } from '../state/theme.ts';
import { Skeleton } from '../ui/panel.tsx';
import { ErrorState } from '../ui/states.tsx';

export function ApiDocsPage() {
  const place = useRef<HTMLDivElement>(null);
  const [state, setState] = useState<'loading' | 'ready' | 'away'>('loading');
  const dark = useDark();
  const user = currentUser();

  useEffect(() => {
    let left = false;
    showViewer().then(
      (viewer) => {
        if (left) return;
        place.current?.append(viewer);
        setState('ready');
      },
      () => {
        if (!left) setState('away');
      },
    );
    return () => {
      left = true;
    };
  }, []);
  // The viewer's own name for the dark theme.
  useEffect(() => {
    document.documentElement.classList.toggle('dark-mode', dark);
    return () => document.documentElement.classList.remove('dark-mode');
  }, [dark]);

  return (
    <>
      <div class="head">
        <h1>API</h1>
        <div class="facts">
          <span>
            <a href={documentPath} target="_blank" rel="noreferrer">
              OpenAPI document
            </a>
          </span>
          <span>
            What you execute here is a real request of {user?.username}, whose role is {user?.role}.
          </span>
        </div>
      </div>
      {state === 'away' && <ErrorState error={new ApiError(0, 'The viewer cannot be loaded.')} />}
      {state === 'loading' && <Skeleton height={480} />}
      <div ref={place} aria-busy={state === 'loading'} />
      <p class="note">
        <a href="/licenses.txt" target="_blank" rel="noreferrer">
          Licences of the software in these pages
        </a>
      </p>
    </>
  );
}
