// Loads and bytes as people read them, and what is not known is left out.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HardwareEvent } from '../protocol/node.ts';
import { formatBytes, gpuLoads, loadSummary, loadText } from './load-text.ts';

const metadata: HardwareEvent['metadata'] = {
  cpu: { average: 12.4, cores: [12.4] },
  gpu: { average: null, gpus: [] },
  ram: { free: 1_500_000_000, total: 4e9 },
  storage: {
    hard_drives: [
      { name: 'container storage', model: null, free_capacity: 412_300_000, total_capacity: 1e12 },
    ],
  },
  network: { rx_bytes: null, tx_bytes: null },
};
const event = (changes: Partial<HardwareEvent['metadata']> = {}) =>
  ({ metadata: { ...metadata, ...changes } }) as HardwareEvent;

test('bytes have three digits and a unit', () => {
  const told = [0, 999, 999.6, 1_500, 999_499, 999_999, 5e15].map(formatBytes);
  assert.deepEqual(told, ['0 B', '999 B', '1.00 kB', '1.50 kB', '999 kB', '1.00 MB', '5.00 PB']);
});

test('a node without GPUs, and one with', () => {
  assert.equal(loadSummary(null), '');
  assert.equal(loadText(null), null);
  assert.equal(loadText(event()), 'CPU 12%, 1.50 GB of memory free, 412 MB of disk free');
  const gpus = [{ uuid: 'GPU-1', name: 'T4', load: 35, vram: { free: 12e9, total: 16e9 } }];
  const loaded = event({ gpu: { average: 35, gpus } });
  assert.equal(loadSummary(loaded), '12%, GPU 35%');
  assert.deepEqual([...gpuLoads(loaded)], [['GPU-1', '35%, 12.0 GB free']]);
});
