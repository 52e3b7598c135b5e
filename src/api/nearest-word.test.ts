// Suggestions for mistyped names: near ones only.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { nearestWord } from './nearest-word.ts';

const known = ['cpu_count', 'gpu_count', 'min_ram_gb', 'title', 'env', 'tag'];

test('a slip of the keyboard finds its word', () => {
  for (const [word, nearest] of [
    ['cpu_cuont', 'cpu_count'],
    ['CPU_COUNT', 'cpu_count'],
    ['cpuCount', 'cpu_count'],
    ['min_ram', 'min_ram_gb'],
    ['tilte', 'title'],
    ['envs', 'env'],
  ] as const) {
    assert.equal(nearestWord(word, known), nearest, word);
  }
});

test('a word that is near nothing gets no suggestion', () => {
  for (const word of ['replicas', 'x', 'zz', '', 'a'.repeat(10_000)])
    assert.equal(nearestWord(word, known), undefined, word.slice(0, 20));
});

test('a known word is its own nearest', () => {
  for (const word of known) assert.equal(nearestWord(word, known), word);
});

test('one letter too many, too few or wrong is always found', () => {
  const word = fc.constantFrom('cpu_count', 'min_ram_gb', 'title');
  fc.assert(
    fc.property(word, fc.nat(20), fc.constantFrom('', 'q', '%%'), (name, at, put) => {
      const cut = at % name.length;
      const slip = name.slice(0, cut) + put + name.slice(cut + 1);
      assert.equal(nearestWord(slip, [name]), name);
    }),
  );
});
