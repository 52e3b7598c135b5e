// Positions survive being written and read, and what is no position is told.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type EventPosition,
  formatPosition,
  isVisible,
  parsePosition,
  parseSnapshot,
} from './event-position.ts';

const snapshot = fc
  .record({
    xmin: fc.bigInt(1n, 10n ** 12n),
    length: fc.bigInt(0n, 50n),
    running: fc.array(fc.bigInt(0n, 49n), { maxLength: 8 }),
  })
  .map(({ xmin, length, running }) => {
    const xips = [...new Set(running.filter((at) => at < length))].sort((a, b) => Number(a - b));
    return `${xmin}:${xmin + length}:${xips.map((at) => xmin + at).join(',')}`;
  });
const plain = { noNullPrototype: true };
const position: fc.Arbitrary<EventPosition> = fc.record(
  {
    atMs: fc.nat(),
    since: snapshot,
    within: fc.option(fc.record({ until: snapshot, after: fc.nat() }, plain)),
  },
  plain,
);

test('a position that is written is read as the same', () => {
  fc.assert(fc.property(position, (it) => assert.deepEqual(parsePosition(formatPosition(it)), it)));
});

test('any text is a position or null, never an exception', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const read = parsePosition(text);
      if (read !== null) assert.equal(parsePosition(formatPosition(read))?.since, read.since);
    }),
  );
  for (const wrong of [
    '',
    '1',
    '1~',
    '1~5:4:',
    '1~0:4:',
    '1~4:9:3',
    '1~4:9:6,5',
    '1~4:9:~',
    '1~4:9:~4:9:',
    '1~4:9:~4:9:~1~2',
  ])
    assert.equal(parsePosition(wrong), null, wrong);
});

test('a snapshot shows what was committed before it', () => {
  const read = parseSnapshot('10:15:10,13');
  assert.ok(read);
  const seen = [9n, 10n, 11n, 12n, 13n, 14n, 15n, 99n].filter((xid) => isVisible(xid, read));
  assert.deepEqual(seen, [9n, 11n, 12n, 14n]);
});
