// The pull line: what is known is shown, what is not is left out, and a bar never overflows.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatBytes, pullBar, pullLine } from './pull-progress.ts';

const unknown = { total_bytes: null, bytes_per_second: null, eta_ms: null };

test('shows share, size, rate and time left', () => {
  const progress = {
    phase: 'pulling' as const,
    received_bytes: 120_000_000,
    total_bytes: 265_000_000,
    bytes_per_second: 12_300_000,
    eta_ms: 11_788,
  };
  assert.equal(pullLine(progress), 'Pulling 45% of 265 MB at 12.3 MB/s, 12s left');
  assert.equal(pullBar(progress), '[###########-------------] Pulling 45% of 265 MB at 12.3 MB/s, 12s left');
});

test('leaves out what is not known', () => {
  assert.equal(pullLine({ phase: 'pulling', received_bytes: 5_000_000, ...unknown }), 'Pulling 5 MB');
  assert.equal(pullBar({ phase: 'extracting', received_bytes: 0, ...unknown }), 'Extracting 0 B');
});

test('is 100% only when all bytes are there', () => {
  const almost = { phase: 'pulling' as const, received_bytes: 999, ...unknown, total_bytes: 1_000 };
  assert.match(pullLine(almost), /99%/);
  assert.match(pullLine({ ...almost, received_bytes: 1_000 }), /100%/);
});

test('the bar has one width', () => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(), (received_bytes, total_bytes) => {
      const bar = pullBar({ phase: 'pulling', received_bytes, ...unknown, total_bytes });
      assert.match(bar, /^\[#*-*\] Pulling \d{1,3}% of /);
      assert.equal(bar.indexOf(']'), 25);
    }),
  );
});

test('bytes have at most three digits', () => {
  assert.deepEqual([0, 999, 1_000, 1_250_000, 99_960, 999_600, 22_700_000_000, 5e15].map(formatBytes), [
    '0 B',
    '999 B',
    '1 kB',
    '1.3 MB',
    '100 kB',
    '1 MB',
    '22.7 GB',
    '5000 TB',
  ]);
});
