import assert from 'node:assert/strict';
import { test } from 'node:test';
import { curlOf } from './asks.ts';
import { requestUrl } from './client.ts';

test('fields of the path go there, the others into the query', () => {
  assert.equal(
    requestUrl('/api/v1/queries/{query_hash}/timeline', {
      query_hash: '-12',
      source: ['a b', 'c&d'],
      hours: 6,
      start: undefined,
    }),
    '/api/v1/queries/-12/timeline?source=a+b&source=c%26d&hours=6',
  );
  assert.equal(requestUrl('/api/v1/collectors/{id}', { id: 'a/b?c' }), '/api/v1/collectors/a%2Fb%3Fc');
  assert.equal(requestUrl('/api/v1/sources', {}), '/api/v1/sources');
});

test('the line for a shell is one word for the URL', () => {
  assert.equal(
    curlOf({ path: "/api/v1/series?filter=state~^(active|it's)$" }, 'http://h'),
    `curl -s 'http://h/api/v1/series?filter=state~^(active|it'\\''s)$' -H "Authorization: Bearer $TOKEN"`,
  );
});
