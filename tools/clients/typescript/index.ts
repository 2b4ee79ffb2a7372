// A client of pgAnalytics' REST API. Paths, parameters, bodies and answers are typed from the OpenAPI document. A call gives
// `data`, or `error` as the API says it; it throws only where no answer comes.
import createClient, { type Client } from 'openapi-fetch';
import type { components, paths } from './schema.js';

export type { components, operations, paths } from './schema.js';
export type ApiError = components['schemas']['Error'];
export type PgAnalytics = Client<paths>;

export interface Options {
  // Where the gateway is, for example https://pganalytics.example.com:8080.
  url: string;
  // An access token, a token of `pgactl tokens create`, or what gives one for each call. Without it only open routes answer.
  token?: string | (() => string | Promise<string>);
}

export function connect({ url, token }: Options): PgAnalytics {
  const client = createClient<paths>({ baseUrl: url.replace(/\/+$/, '') });
  if (token !== undefined) {
    client.use({
      async onRequest({ request }) {
        request.headers.set('Authorization', `Bearer ${typeof token === 'string' ? token : await token()}`);
        return request;
      },
    });
  }
  return client;
}
