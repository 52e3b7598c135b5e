// CPUs by package and whole disks, from texts as kernels write them, and on this very machine.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseCpus, readParts } from './hardware-parts.ts';

const thread = (processor: number, physical: number) => `processor\t: ${processor}
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz
cpu MHz\t\t: ${3000 + processor}.000
physical id\t: ${physical}
cpu cores\t: 2
flags\t\t: fpu vme sse4_1 avx avx2 avx512f nonstop_tsc
power management:
`;

test('two packages with two threads a core', () => {
  const text = [0, 1, 2, 3, 4, 5, 6, 7].map((index) => thread(index, index % 2)).join('\n');
  const cpu = {
    ...{
      name: 'Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz',
      vendor: 'GenuineIntel',
      num_cores: 2,
      num_threads: 4,
    },
    ...{ base_clock_mhz: 2500, features: ['sse4_1', 'avx', 'avx2', 'avx512f'] },
  };
  assert.deepEqual(parseCpus(text, null), [cpu, cpu]);
  assert.equal(parseCpus(text, 2_400)[0]?.base_clock_mhz, 2_400);
});

test('a machine of ARM, which names no packages', () => {
  const text =
    'processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd sve2 i8mm\n\nprocessor\t: 1\nFeatures\t: fp\n';
  assert.deepEqual(parseCpus(text, null), [
    {
      ...{ name: 'unknown', vendor: null, num_cores: 2, num_threads: 2, base_clock_mhz: null },
      features: ['asimd', 'sve2', 'i8mm'],
    },
  ]);
});

test('whole disks with their models', async () => {
  const root = mkdtempSync(join(tmpdir(), 'flotilla-parts-'));
  try {
    for (const name of ['nvme0n1', 'loop0', 'sda']) {
      mkdirSync(join(root, 'block', name, 'device'), { recursive: true });
      mkdirSync(join(root, 'block', name, 'queue'));
      writeFileSync(join(root, 'block', name, 'size'), '2048\n');
      writeFileSync(join(root, 'block', name, 'queue/rotational'), name === 'sda' ? '1\n' : '0\n');
    }
    writeFileSync(join(root, 'block/nvme0n1/device/model'), 'Samsung SSD 990 PRO 2TB   \n');
    const { cpus, hard_drives } = await readParts({ procRoot: root, sysRoot: root });
    assert.deepEqual(cpus, []);
    assert.deepEqual(hard_drives, [
      { name: 'nvme0n1', model: 'Samsung SSD 990 PRO 2TB', size_bytes: 1_048_576, is_rotational: false },
      { name: 'sda', model: null, size_bytes: 1_048_576, is_rotational: true },
    ]);
  } finally {
    rmSync(root, { recursive: true });
  }
});

test('this machine says the same twice: its inventory is no news each minute', async () => {
  const [first, second] = [await readParts(), await readParts()];
  assert.deepEqual(first, second);
  const threads = first.cpus.reduce((sum, { num_threads }) => sum + num_threads, 0);
  assert.ok(threads >= availableParallelism());
});
