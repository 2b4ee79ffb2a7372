// Who is signed in. The access token lives in memory; the refresh token in a cookie that scripts cannot read. All tabs of
// a browser share one refresh: it runs under one lock, and its outcome is passed to the others.

import { ApiError, call } from './client.ts';
import type { LoginResponse, User } from './generated.ts';

interface Session {
  token: string;
  // Milliseconds of this machine's clock at which it should be renewed, and at which it ends.
  renewAt: number;
  user: User | undefined;
}

type News = { kind: 'signed-in'; session: Session } | { kind: 'signed-out' } | { kind: 'anybody' };

const lockName = 'pganalytics-session';
// Says that this browser has had a session, so that a page that was never signed in asks nothing.
const hint = 'pganalytics-session';

let session: Session | undefined;
let renewing: Promise<string | undefined> | undefined;
let timer: ReturnType<typeof setTimeout> | undefined;
const listeners = new Set<() => void>();
const channel = typeof window === 'undefined' ? undefined : new BroadcastChannel(lockName);

type SessionState = 'starting' | 'signed-in' | 'signed-out';
let state: SessionState = 'starting';

export const sessionState = (): SessionState => state;
export const currentUser = (): User | undefined => session?.user;

export function onSession(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function set(next: Session | undefined) {
  session = next;
  state = next ? 'signed-in' : 'signed-out';
  clearTimeout(timer);
  if (next) {
    localStorage.setItem(hint, '1');
    timer = setTimeout(() => void renew(), Math.max(next.renewAt - Date.now(), 0));
  } else {
    localStorage.removeItem(hint);
  }
  for (const listener of listeners) listener();
}

function sessionOf(answer: LoginResponse): Session {
  const left = Math.max(Date.parse(answer.expires_at ?? '') - Date.now(), 0);
  // A minute ahead, or at four fifths of a short life.
  return {
    token: answer.token,
    renewAt: Date.now() + Math.min(Math.max(left - 60_000, left * 0.8), 2 ** 31 - 1),
    user: answer.user,
  };
}

channel?.addEventListener('message', (event: MessageEvent<News>) => {
  if (event.data.kind === 'signed-in') set(event.data.session);
  else if (event.data.kind === 'signed-out') set(undefined);
  else if (session && session.renewAt > Date.now()) channel.postMessage({ kind: 'signed-in', session } satisfies News);
});

// One at a time over all tabs. Browsers give locks to pages over TLS or of this machine alone; elsewhere the tab's own
// order has to do.
function exclusively<T>(work: () => Promise<T>): Promise<T> {
  return navigator.locks ? (navigator.locks.request(lockName, work) as Promise<T>) : work();
}

async function renew(): Promise<string | undefined> {
  renewing ??= exchange().finally(() => {
    renewing = undefined;
  });
  return renewing;
}

async function exchange(): Promise<string | undefined> {
  const had = session?.token;
  return exclusively(async () => {
    // Another tab was faster.
    if (session && session.token !== had && session.renewAt > Date.now()) return session.token;
    // Another tab has signed out.
    if (!localStorage.getItem(hint)) {
      set(undefined);
      return undefined;
    }
    try {
      const answer = await call<LoginResponse>('POST', '/api/v1/auth/refresh', '*', {}, { anonymous: true });
      const next = sessionOf(answer);
      next.user ??= session?.user;
      set(next);
      channel?.postMessage({ kind: 'signed-in', session: next } satisfies News);
      return next.token;
    } catch (error) {
      // Only a refusal ends the session (400: the cookie has ended): a server that is away, or busy, may come back.
      if (error instanceof ApiError && [400, 401, 403].includes(error.code)) {
        set(undefined);
        channel?.postMessage({ kind: 'signed-out' } satisfies News);
        return undefined;
      }
      clearTimeout(timer);
      timer = setTimeout(() => void renew().catch(() => undefined), 5000);
      throw error;
    }
  });
}

// A token that is good for a while, or none. Throws ApiError while the server is away.
export async function currentToken(): Promise<string | undefined> {
  if (session && session.renewAt > Date.now()) return session.token;
  return session ? renew() : undefined;
}

export function renewToken(): Promise<string | undefined> {
  return renew();
}

// Asks other tabs first, then the cookie.
export async function startSession(): Promise<void> {
  if (!localStorage.getItem(hint)) {
    set(undefined);
    return;
  }
  channel?.postMessage({ kind: 'anybody' } satisfies News);
  await new Promise((done) => setTimeout(done, 60));
  if (!session) await renew();
}

export async function signIn(username: string, password: string): Promise<void> {
  const answer = await call<LoginResponse>(
    'POST',
    '/api/v1/auth/login',
    '*',
    { username, password },
    { anonymous: true, headers: { 'X-Session': 'cookie' } },
  );
  const next = sessionOf(answer);
  set(next);
  channel?.postMessage({ kind: 'signed-in', session: next } satisfies News);
}

// By the cookie alone: a token that has to be renewed first would wait for the lock that is held here.
export function signOut(): Promise<void> {
  return exclusively(async () => {
    try {
      await call('POST', '/api/v1/auth/logout', '*', {}, { anonymous: true });
    } finally {
      set(undefined);
      channel?.postMessage({ kind: 'signed-out' } satisfies News);
    }
  });
}
