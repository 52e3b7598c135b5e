// nvidia-smi's answers, whole, partial and absent.
import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseGpus, readGpus } from './gpus.ts';

test('each line is a GPU', () => {
  const text =
    '0, GPU-aaaa, NVIDIA GeForce RTX 4090, 24564, 550.1\n1, GPU-bbbb, NVIDIA A100 80GB, 81920, [N/A]\n';
  assert.deepEqual(parseGpus(text), {
    gpus: [
      {
        index: 0,
        uuid: 'GPU-aaaa',
        name: 'NVIDIA GeForce RTX 4090',
        vram_mib: 24564,
        driver_version: '550.1',
      },
      { index: 1, uuid: 'GPU-bbbb', name: 'NVIDIA A100 80GB', vram_mib: 81920, driver_version: null },
    ],
    note: null,
  });
});

test('a broken GPU is named in the note and the others count', () => {
  const { gpus, note } = parseGpus(
    '0, GPU-aaaa, RTX 4090, 24564, 550\n1, [Unknown Error], ERR!, [N/A], 550\n',
  );
  assert.equal(gpus.length, 1);
  assert.match(note ?? '', /Unknown Error/);
});

test('one GPU told twice counts once', () => {
  const { gpus, note } = parseGpus('0, GPU-aaaa, RTX 4090, 24564, 550\n1, GPU-aaaa, RTX 4090, 24564, 550\n');
  assert.equal(gpus.length, 1);
  assert.notEqual(note, null);
});

test('without nvidia-smi there are no GPUs and nothing to say', async () => {
  assert.deepEqual(await readGpus('/nonexistent/nvidia-smi'), { gpus: [], note: null });
});

test('a driver that fails is told in a sentence', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'flotilla-smi-'));
  try {
    const command = join(folder, 'nvidia-smi');
    await writeFile(
      command,
      '#!/bin/sh\necho "NVIDIA-SMI has failed because it could not communicate"\nexit 9\n',
    );
    await chmod(command, 0o755);
    const { gpus, note } = await readGpus(command);
    assert.deepEqual(gpus, []);
    assert.match(note ?? '', /could not communicate/);
  } finally {
    await rm(folder, { recursive: true });
  }
});
