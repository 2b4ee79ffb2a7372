// What stands where figures are missing: the reason, and what to do.

import type { ComponentChildren } from 'preact';
import type { ApiError } from '../api/client.ts';

export function ErrorState({ error }: { error: ApiError }) {
  const next = nextStep(error);
  return (
    <div class="state" role="alert">
      <p>
        <strong>{titleOf(error)}</strong> {error.message}
      </p>
      {next && <p class="muted">{next}</p>}
      {error.requestId && <p class="muted small">Request {error.requestId}</p>}
    </div>
  );
}

function titleOf(error: ApiError): string {
  if (error.code === 0) return 'The server is away.';
  if (error.code === 403) return 'Not for this account.';
  if (error.code === 429) return 'Too many requests.';
  if (error.code >= 500) return 'The server could not answer.';
  return 'The question was refused.';
}

function nextStep(error: ApiError): string {
  if (error.code === 0) return 'It is asked again at the next refresh. On its host: pgactl doctor.';
  if (error.code === 403) return 'An administrator gives roles: pgactl users set-role USER ROLE.';
  if (error.code >= 500) return 'pgactl doctor says what does not answer.';
  return '';
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="state">
      <p>
        <strong>{title}</strong>
      </p>
      {children && <p class="muted">{children}</p>}
    </div>
  );
}
