// Tables: alignment, truncation to the terminal, and text that must not drive the terminal.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Column, pairLines, tableLines } from './table.ts';
import { onOneLine, textWidth, truncate } from './text-width.ts';

interface Row {
  name: string;
  count: number;
  title: string;
}
const columns: Column<Row>[] = [
  { header: 'NAME', cell: (row) => row.name },
  { header: 'COUNT', cell: (row) => String(row.count), align: 'right' },
  { header: 'TITLE', cell: (row) => row.title, isFlexible: true },
];

test('aligns columns and marks empty cells', () => {
  const rows = [
    { name: 'alpha', count: 7, title: 'one' },
    { name: 'b', count: 12_000, title: '' },
  ];
  assert.deepEqual(tableLines(columns, rows, null), [
    'NAME   COUNT  TITLE',
    'alpha      7  one',
    'b      12000  -',
  ]);
});

test('cuts the flexible column to the terminal, never below eight columns', () => {
  const rows = [{ name: 'alpha', count: 7, title: 'a title that is rather long' }];
  assert.deepEqual(tableLines(columns, rows, 30), ['NAME   COUNT  TITLE', 'alpha      7  a title that is…']);
  assert.equal(tableLines(columns, rows, 10)[1], 'alpha      7  a title…');
  assert.equal(tableLines(columns, rows, null)[1], 'alpha      7  a title that is rather long');
});

test('paints after the width is settled', () => {
  const painted: Column<Row>[] = [
    { header: 'NAME', cell: (row) => row.name, paint: (text) => `<${text}>` },
    { header: 'COUNT', cell: (row) => String(row.count) },
  ];
  assert.deepEqual(tableLines(painted, [{ name: 'a', count: 1, title: '' }], null), [
    'NAME  COUNT',
    '<a   >  1',
  ]);
});

test('control characters and direction overrides become spaces', () => {
  assert.equal(onOneLine('a\u001b[2Jb\nc\u0000\u202ed'), 'a [2Jb c d');
  assert.equal(
    tableLines(columns, [{ name: '\u001b[31mx', count: 1, title: 't' }], null)[1],
    '[31mx      1  t',
  );
});

test('counts columns, not characters', () => {
  assert.equal(textWidth('日本'), 4);
  assert.equal(textWidth('e\u0301'), 1);
  assert.equal(textWidth('🚀'), 2);
  assert.equal(truncate('日本語', 4), '日…');
  assert.equal(truncate('日本語', 6), '日本語');
});

test('truncation never exceeds the width', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.nat(40), (text, width) => {
      assert.ok(textWidth(truncate(text, width)) <= width);
    }),
  );
});

test('pairs are aligned and absent ones left out', () => {
  const pairs: [string, string | null][] = [
    ['a', '1'],
    ['long', null],
    ['bcd', '2'],
  ];
  assert.deepEqual(pairLines(pairs, ' '), [' a:   1', ' bcd: 2']);
});
