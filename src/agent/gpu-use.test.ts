// What nvidia-smi prints on machines of many kinds, and what of it means that a GPU is not clean.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { type GpuUse, leftOver, parseGpuUse, toleranceMib } from './gpu-use.ts';
import { parseGpus } from './gpus.ts';

const folder = resolve(import.meta.dirname, '../../test/fixtures/nvidia-smi');
const memory = { ramMib: 64_000 };
const fixture = (name: string) => readFileSync(join(folder, `${name}.csv`), 'utf8');

test('whole machines are read whole', () => {
  const pair = parseGpus(fixture('rtx-4090-pair'), memory);
  assert.equal(pair.note, null);
  assert.deepEqual(
    pair.gpus.map(({ index, name, vram_mib }) => [index, name, vram_mib]),
    [0, 1].map((index) => [index, 'NVIDIA GeForce RTX 4090', 24_564]),
  );
  const rack = parseGpus(fixture('mixed-rack'), memory);
  assert.equal(rack.note, null);
  assert.deepEqual(
    rack.gpus.map(({ name }) => name),
    ['NVIDIA A100-SXM4-80GB', 'NVIDIA GeForce RTX 4090 D', 'Tesla T4', 'NVIDIA H100 80GB HBM3'],
  );
  assert.equal(parseGpus(fixture('virtual'), memory).gpus.length, 1);
});

test('broken devices are named, and the others count', () => {
  const fallen = parseGpus(fixture('one-fallen-off-the-bus'), memory);
  assert.equal(fallen.gpus.length, 1);
  assert.match(fallen.note ?? '', /Unable to determine the device handle/);
  const unreadable = parseGpus(fixture('not-readable-memory'), memory);
  assert.deepEqual(
    unreadable.gpus.map(({ index }) => index),
    [0],
  );
  assert.match(unreadable.note ?? '', /Unknown Error.*requires reset/);
  const none = parseGpus(fixture('no-devices'), memory);
  assert.deepEqual(none.gpus, []);
  assert.match(none.note ?? '', /No devices were found/);
});

test('use is read per GPU; what the driver does not say is null', () => {
  const idle = parseGpuUse(fixture('use-idle'), '');
  assert.deepEqual(
    [...idle.values()].map(({ usedMib, pids }) => [usedMib, pids]),
    [
      [4, []],
      [371, []],
    ],
  );
  const busy = parseGpuUse(fixture('use-busy'), fixture('processes-busy'));
  assert.deepEqual(
    [...busy.values()].map(({ usedMib, pids }) => [usedMib, pids]),
    [
      [20_387, [31_415, 31_502]],
      [null, [902]],
    ],
  );
});

const use = (usedMib: number | null, pids: number[] = []): GpuUse => ({ uuid: 'GPU-1', usedMib, pids });

test('a GPU is clean when memory is back to what it was and no new process is on it', () => {
  assert.equal(leftOver(use(371, [902]), use(371, [902])), null);
  assert.equal(leftOver(use(371, [902]), use(371 + toleranceMib)), null);
  assert.equal(leftOver(use(371), use(0)), null);
  assert.match(leftOver(use(4), use(4 + toleranceMib + 1)) ?? '', /69 MiB are in use, 4 MiB were before/);
  assert.match(leftOver(use(4, [902]), use(4, [902, 31_415])) ?? '', /process 31415 still uses it/);
  assert.match(leftOver(use(4), undefined) ?? '', /no longer there/);
  assert.equal(leftOver(use(null), use(null)), null);
  assert.match(leftOver(use(null), use(null, [5])) ?? '', /process 5/);
});
