// nvidia-smi's answers to what GPUs there are: whole, partial, of machines with memory of a kind of their own, and absent.
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseGpus, readGpus } from './gpus.ts';
import { NvidiaSmi } from './nvidia-smi.ts';

const memory = { ramMib: 122_504 };

/** What is read where nvidia-smi is this script; `$1` is the question. */
async function reading(script: string) {
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-smi-'));
  try {
    const command = join(folder, 'nvidia-smi');
    writeFileSync(command, `#!/bin/sh\n${script}\n`);
    chmodSync(command, 0o755);
    return await readGpus(new NvidiaSmi({ command }), memory);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('each line is a GPU', () => {
  const text =
    '0, GPU-aaaa, NVIDIA GeForce RTX 4090, 24564, 550.1\n1, GPU-bbbb, NVIDIA A100 80GB, 81920, [N/A]\n';
  assert.deepEqual(parseGpus(text, memory), {
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
  const broken = [
    '1, [Unknown Error], ERR!, [N/A], 550',
    '2, GPU-cccc, [GPU is lost], [N/A], 550',
    '3, GPU-dddd, RTX 4090, [GPU requires reset], 550',
    '4, GPU-eeee, RTX 4090, ERR!, 550',
    '5, GPU-ffff, RTX 4090',
    'Unable to determine the device handle for GPU0000:41:00.0: Unknown Error',
  ];
  const { gpus, note } = parseGpus(['0, GPU-aaaa, RTX 4090, 24564, 550', ...broken, ''].join('\n'), memory);
  assert.deepEqual(
    gpus.map(({ uuid }) => uuid),
    ['GPU-aaaa'],
  );
  for (const line of broken) assert.ok(note?.includes(line), line);
});

test('one GPU told twice counts once', () => {
  const text = '0, GPU-aaaa, RTX 4090, 24564, 550\n1, GPU-aaaa, RTX 4090, 24564, 550\n';
  const { gpus, note } = parseGpus(text, memory);
  assert.equal(gpus.length, 1);
  assert.notEqual(note, null);
});

test('a GPU without memory of its own has that of the machine', () => {
  for (const word of ['[N/A]', '[Not Supported]']) {
    const { gpus, note } = parseGpus(`0, GPU-aaaa, NVIDIA GB10, ${word}, 580.95.05\n`, memory);
    assert.deepEqual([gpus[0]?.vram_mib, note], [122_504, null]);
  }
});

test('a GPU in MIG mode is left out with the way back, the others count', async () => {
  const { gpus, note } = await reading(`case "$1" in
    *mig.mode.current) printf 'GPU-aaaa, Enabled\\nGPU-bbbb, Disabled\\nGPU-cccc, [N/A]\\n' ;;
    *) for at in 0:aaaa 1:bbbb 2:cccc; do echo "\${at%:*}, GPU-\${at#*:}, NVIDIA A100-SXM4-40GB, 40960, 550.54.14"; done ;;
    esac`);
  assert.deepEqual(
    gpus.map(({ index }) => index),
    [1, 2],
  );
  assert.match(note ?? '', /^GPU 0 is in MIG mode.*"nvidia-smi -i 0 -mig 0"\.$/);
});

test('a driver that knows no MIG is read all the same', async () => {
  const { gpus, note } = await reading(`case "$1" in
    *mig*) echo 'Field "mig.mode.current" is not a valid field to query.'; exit 2 ;;
    *) echo '0, GPU-aaaa, Tesla K80, 11441, 418.87' ;;
    esac`);
  assert.deepEqual([gpus.length, note], [1, null]);
});

test('without nvidia-smi there are no GPUs and nothing to say', async () => {
  assert.deepEqual(await readGpus(new NvidiaSmi({ command: '/nonexistent/nvidia-smi' }), memory), {
    gpus: [],
    note: null,
  });
});

test('a driver that fails is told in a sentence', async () => {
  const { gpus, note } = await reading(
    'echo "NVIDIA-SMI has failed because it could not communicate"; exit 9',
  );
  assert.deepEqual(gpus, []);
  assert.match(note ?? '', /could not communicate/);
});
