import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes, change, count, milliseconds, number, percent, serverVersion, settingText, withUnit } from './units.ts';

// Between a figure and its unit stands a thin space.
const plain = (text: string) => text.replaceAll('\u2009', ' ');

test('numbers keep the figures that count', () => {
  assert.equal(number(0), '0');
  assert.equal(number(1234567), '1,234,567');
  assert.equal(number(99.96), '100');
  assert.equal(number(12.34), '12.3');
  assert.equal(number(1.5), '1.5');
  assert.equal(number(0.123), '0.12');
  assert.equal(number(0.00042), '0.0004');
  assert.equal(number(-1500), '-1,500');
});

test('counts become short only when they are long', () => {
  assert.equal(count(99_999), '99,999');
  assert.equal(plain(count(1_234_567)), '1.23 M');
  assert.equal(plain(count(123_456)), '123 k');
});

test('bytes and times take the unit that fits', () => {
  assert.equal(plain(bytes(0)), '0 B');
  assert.equal(plain(bytes(1024)), '1 KiB');
  assert.equal(plain(bytes(31_408_128)), '30 MiB');
  assert.equal(plain(milliseconds(0.0009)), '0.9 µs');
  assert.equal(plain(milliseconds(12.5)), '12.5 ms');
  assert.equal(plain(milliseconds(14_066.6)), '14.1 s');
  assert.equal(plain(milliseconds(600_000)), '10 min');
});

test('units of the API are said', () => {
  assert.equal(plain(withUnit(2048, 'bytes/s')), '2 KiB/s');
  assert.equal(plain(withUnit(1500, 'us')), '1.5 ms');
  assert.equal(plain(withUnit(5, 'blocks/s')), '5 blk/s');
  assert.equal(withUnit(5, '1/s'), '5/s');
  assert.equal(withUnit(5, 'calls/s'), '5/s');
  assert.equal(withUnit(null, 'bytes'), 'unknown');
  assert.equal(plain(withUnit(3, 'files')), '3 files');
});

test('nearly all is not all, and a little is not nothing', () => {
  assert.equal(plain(percent(1)), '100 %');
  assert.equal(plain(percent(0.99999)), '99.9 %');
  assert.equal(plain(percent(0.00001)), '< 0.1 %');
  assert.equal(plain(percent(0)), '0 %');
  assert.equal(plain(percent(0.535)), '53.5 %');
});

test('change says what it is against nothing', () => {
  assert.equal(plain(change(150, 100)), '+50 %');
  assert.equal(plain(change(50, 100)), '−50 %');
  assert.equal(change(5000, 100), '×50');
  assert.equal(change(5, 0), 'new');
  assert.equal(change(0, 0), '');
});

test('settings are sizes and times where they say so', () => {
  assert.equal(plain(settingText('16384', '8kB')), '128 MiB');
  assert.equal(plain(settingText('4096', 'kB')), '4 MiB');
  assert.equal(plain(settingText('300', 's')), '5 min');
  assert.equal(settingText('-1', 'ms'), '-1');
  assert.equal(settingText('0', 'ms'), '0');
  assert.equal(settingText('100', ''), '100');
  assert.equal(settingText('on', ''), 'on');
  assert.equal(settingText(undefined, ''), 'NULL');
});

test('versions', () => {
  assert.equal(serverVersion(150020), '15.20');
  assert.equal(serverVersion(0), '');
});
