// The chain names exactly what was done to a log: an entry changed, taken out, put in another place.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ChainedEntry, chainFaults, chainStart, hashOfEntry } from './audit-chain.ts';

const sha256Hex = (text: string) => createHash('sha256').update(text).digest('hex');

function chainOf(names: readonly string[]): ChainedEntry[] {
  const entries: ChainedEntry[] = [];
  for (const [index, name] of names.entries()) {
    const previousHash = entries.at(-1)?.hash ?? chainStart.hash;
    const content = {
      ...{
        sequence: index + 1,
        id: `id-${index}`,
        createdAtMs: index,
        accountId: null,
        action: 'key_created',
      },
      ...{ actor: { kind: 'key' }, subjectKind: 'api_key', subjectId: null, detail: { name, n: index / 7 } },
    };
    entries.push({ ...content, previousHash, hash: hashOfEntry(content, previousHash, sha256Hex) });
  }
  return entries;
}

const logs = fc.array(fc.string({ unit: 'grapheme' }), { minLength: 2, maxLength: 20 });
const at = (log: readonly unknown[], share: number) =>
  Math.min(log.length - 1, Math.floor(share * log.length));
const share = fc.double({ min: 0, max: 1, noNaN: true });

test('a chain that nobody touched has no fault, from any entry on', () => {
  fc.assert(
    fc.property(logs, share, (names, where) => {
      const chain = chainOf(names);
      const from = at(chain, where);
      assert.deepEqual(chainFaults(chain, chainStart, sha256Hex), []);
      assert.deepEqual(chainFaults(chain.slice(from), chain[from - 1] ?? chainStart, sha256Hex), []);
    }),
  );
});

test('a changed entry is named, and it alone', () => {
  fc.assert(
    fc.property(logs, share, (names, where) => {
      const chain = chainOf(names);
      const index = at(chain, where);
      const edited = chain.map((entry, place) =>
        place === index ? { ...entry, actor: { kind: 'nobody' } } : entry,
      );
      assert.deepEqual(chainFaults(edited, chainStart, sha256Hex), [
        { sequence: index + 1, id: `id-${index}`, fault: 'changed' },
      ]);
    }),
  );
});

test('a changed entry that was hashed anew breaks with its successor', () => {
  const chain = chainOf(['a', 'b', 'c']);
  const [first, second] = chain;
  assert.ok(first && second);
  const forged = { ...second, detail: { name: 'x' } };
  const edited = [
    first,
    { ...forged, hash: hashOfEntry(forged, second.previousHash, sha256Hex) },
    ...chain.slice(2),
  ];
  assert.deepEqual(chainFaults(edited, chainStart, sha256Hex), [
    { sequence: 3, id: 'id-2', fault: 'unlinked' },
  ]);
});

test('an entry taken out is missed', () => {
  fc.assert(
    fc.property(logs, share, (names, where) => {
      const chain = chainOf(names);
      const index = Math.min(at(chain, where), chain.length - 2);
      assert.deepEqual(chainFaults(chain.toSpliced(index, 1), chainStart, sha256Hex), [
        { sequence: index + 1, id: null, fault: 'missing' },
      ]);
    }),
  );
});
