import assert from 'node:assert/strict';
import { test } from 'node:test';
import { instantOf, keyOf, newest, qualified, quoteIdent, quoteLiteral } from './rows.ts';

test('instants as PostgreSQL writes them', () => {
  assert.equal(instantOf('2026-01-31 14:05:09+00'), Date.UTC(2026, 0, 31, 14, 5, 9));
  assert.equal(instantOf('2026-01-31 14:05:09.25+00'), Date.UTC(2026, 0, 31, 14, 5, 9, 250));
  assert.equal(instantOf(''), undefined);
  assert.equal(instantOf(undefined), undefined);
  assert.equal(newest(undefined, '2026-01-31 14:05:09+00', '2026-02-01 00:00:00+00'), Date.UTC(2026, 1, 1));
  assert.equal(newest(undefined, ''), undefined);
});

test('names in statements', () => {
  assert.equal(quoteIdent('orders'), 'orders');
  assert.equal(quoteIdent('Orders"x'), '"Orders""x"');
  assert.equal(quoteLiteral("it's"), "'it''s'");
  assert.equal(qualified({ schemaname: 'public' }, 'orders'), 'orders');
  assert.equal(qualified({ schemaname: 'sales' }, 'orders'), 'sales.orders');
  assert.equal(qualified({}, 'orders'), 'orders');
});

test('rows about the same thing have one key, others another', () => {
  const table = { datname: 'shop', schemaname: 'public', relname: 'orders' };
  assert.equal(keyOf(table), keyOf({ ...table }));
  assert.notEqual(keyOf(table), keyOf({ ...table, schemaname: 'sales' }));
  assert.notEqual(keyOf(table), keyOf({ ...table, indexrelname: 'orders_pkey' }));
});
