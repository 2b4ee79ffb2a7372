import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Queue } from './queue.ts';

// Work that ends when the test says so.
function held() {
  const ends: (() => void)[] = [];
  const begun: number[] = [];
  const work = (number: number) => () => {
    begun.push(number);
    return new Promise<number>((resolve) => ends.push(() => resolve(number)));
  };
  return { ends, begun, work };
}
const rest = () => new Promise((resolve) => setImmediate(resolve));

test('no more than so many at once, the others in their order', async () => {
  const queue = new Queue(2);
  const { ends, begun, work } = held();
  const all = [1, 2, 3, 4].map((number) => queue.run(work(number)));
  await rest();
  assert.deepEqual(begun, [1, 2]);
  ends[1]?.();
  await rest();
  assert.deepEqual(begun, [1, 2, 3]);
  ends[0]?.();
  await rest();
  assert.deepEqual(begun, [1, 2, 3, 4]);
  for (const end of ends) end();
  assert.deepEqual(await Promise.all(all), [1, 2, 3, 4]);
});

test('what is given up while it waits never begins, and takes no place', async () => {
  const queue = new Queue(1);
  const { ends, begun, work } = held();
  const first = queue.run(work(1));
  const abort = new AbortController();
  const second = queue.run(work(2), abort.signal);
  const third = queue.run(work(3));
  abort.abort();
  await assert.rejects(second, { name: 'AbortError' });
  ends[0]?.();
  await first;
  await rest();
  assert.deepEqual(begun, [1, 3]);
  ends[1]?.();
  assert.equal(await third, 3);
});

test('a failure gives its place back', async () => {
  const queue = new Queue(1);
  await assert.rejects(queue.run(() => Promise.reject(new Error('no'))));
  assert.equal(await queue.run(() => Promise.resolve(5)), 5);
});

test('whoever is given up before it is asked gets no place', async () => {
  const queue = new Queue(1);
  const abort = new AbortController();
  abort.abort();
  await assert.rejects(
    queue.run(() => Promise.resolve(1), abort.signal),
    { name: 'AbortError' },
  );
  assert.equal(await queue.run(() => Promise.resolve(2)), 2);
});
