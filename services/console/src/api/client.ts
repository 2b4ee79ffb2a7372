// One call of the REST API: path and query from the request message, the token, errors as one shape.

import { Queue } from './queue.ts';
import { currentToken, renewToken } from './session.ts';

// The gateway takes a few calls of a caller at a time and refuses more: one place is left for a renewal or another tab.
const calls = new Queue(5);

export interface CallOptions {
  signal?: AbortSignal;
  headers?: Record<string, string>;
  // Without the token, and without a renewal after 401: sign-in itself.
  anonymous?: boolean;
}

export class ApiError extends Error {
  // HTTP status; 0 = no answer came.
  readonly code: number;
  readonly reason: string;
  readonly requestId: string;
  constructor(code: number, message: string, reason = '', requestId = '') {
    super(message);
    this.code = code;
    this.reason = reason;
    this.requestId = requestId;
  }
}

// Path with the request's fields in it, and in the query those that no place of the path names.
export function requestUrl(path: string, request: object): string {
  const fields = new Map(Object.entries(request));
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = fields.get(name);
    fields.delete(name);
    return encodeURIComponent(String(value ?? ''));
  });
  const query = new URLSearchParams();
  for (const [name, value] of fields) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== '') query.append(name, String(one));
    }
  }
  const text = query.toString();
  return text ? `${filled}?${text}` : filled;
}

export async function call<T>(
  verb: string,
  path: string,
  body: string,
  request: object,
  options: CallOptions = {},
): Promise<T> {
  const withBody = body !== '';
  const url = withBody ? requestUrl(path, pathFields(path, request)) : requestUrl(path, request);
  const send = async (token: string | undefined): Promise<Response> => {
    const headers: Record<string, string> = { ...options.headers };
    if (token) headers.Authorization = `Bearer ${token}`;
    if (withBody) headers['Content-Type'] = 'application/json';
    try {
      return await fetch(url, {
        method: verb,
        headers,
        credentials: 'same-origin',
        ...(withBody ? { body: JSON.stringify(request) } : {}),
        ...(options.signal ? { signal: options.signal } : {}),
      });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new ApiError(0, 'The server does not answer.', 'AWAY');
    }
  };
  // Sign-in and renewal wait for nobody: what is queued may wait for them.
  if (options.anonymous) return bodyOf<T>(await send(undefined));
  return calls.run(async () => {
    let response = await send(await currentToken());
    if (response.status === 401) response = await send(await renewToken());
    return bodyOf<T>(response);
  }, options.signal);
}

// As `fetch`, for a part that makes requests of its own: with the session's token, unless the request brings a token.
export async function signedFetch(url: string, init: RequestInit = {}): Promise<Response> {
  if (new Headers(init.headers).has('Authorization')) return fetch(url, init);
  const send = (token: string | undefined): Promise<Response> => {
    const headers = new Headers(init.headers);
    if (token) headers.set('Authorization', `Bearer ${token}`);
    return fetch(url, { ...init, headers, credentials: 'same-origin' });
  };
  return calls.run(async () => {
    const response = await send(await currentToken());
    return response.status === 401 ? send(await renewToken()) : response;
  }, init.signal ?? undefined);
}

async function bodyOf<T>(response: Response): Promise<T> {
  if (!response.ok) throw await errorOf(response);
  if (response.status === 204) return {} as T;
  // A body that is no JSON is a text (google.api.HttpBody).
  const json = response.headers.get('content-type')?.startsWith('application/json') ?? false;
  return (await (json ? response.json() : response.text())) as T;
}

function pathFields(path: string, request: object): object {
  return Object.fromEntries(Object.entries(request).filter(([name]) => path.includes(`{${name}}`)));
}

async function errorOf(response: Response): Promise<ApiError> {
  try {
    const body = (await response.json()) as { message?: string; reason?: string; request_id?: string };
    return new ApiError(response.status, body.message ?? response.statusText, body.reason, body.request_id);
  } catch {
    return new ApiError(response.status, `The server answered ${response.status} ${response.statusText}.`);
  }
}
