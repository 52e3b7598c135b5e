// Cards as drivers name them, and the registry entries they are.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findRegistryGpu, type RegistryGpu } from './gpu-registry.ts';

const entry = (name: string, vramGb: number, aliases: string[] = []): RegistryGpu => ({
  id: `${name}-${vramGb}`,
  name,
  aliases,
  vramGb,
  hourlyRateMicros: null,
});
const registry = [
  entry('NVIDIA GeForce RTX 4090', 24),
  entry('NVIDIA GeForce RTX 4090 D', 24),
  entry('NVIDIA GeForce RTX 3080', 10),
  entry('NVIDIA GeForce RTX 3080 12GB', 12),
  entry('NVIDIA A100 40GB', 40),
  entry('NVIDIA A100 80GB PCIe', 80),
  entry('NVIDIA A100 80GB SXM', 80, ['A100 SXM4 80GB']),
  entry('NVIDIA H100 PCIe', 80),
  entry('NVIDIA H100 80GB SXM', 80, ['H100 80GB HBM3']),
  entry('NVIDIA H200', 141),
];
const known = (name: string, vramMib: number) => findRegistryGpu({ name, vramMib }, registry)?.name ?? null;

test('a driver’s name and memory find the entry', () => {
  const cards: [string, number, string | null][] = [
    ['NVIDIA GeForce RTX 4090', 24_564, 'NVIDIA GeForce RTX 4090'],
    ['NVIDIA GeForce RTX 4090 D', 24_564, 'NVIDIA GeForce RTX 4090 D'],
    ['NVIDIA GeForce RTX 3080', 10_240, 'NVIDIA GeForce RTX 3080'],
    ['NVIDIA GeForce RTX 3080', 12_288, 'NVIDIA GeForce RTX 3080 12GB'],
    ['NVIDIA A100-SXM4-40GB', 40_960, 'NVIDIA A100 40GB'],
    ['NVIDIA A100-SXM4-80GB', 81_920, 'NVIDIA A100 80GB SXM'],
    ['NVIDIA A100 80GB PCIe', 81_920, 'NVIDIA A100 80GB PCIe'],
    ['NVIDIA H100 PCIe', 81_559, 'NVIDIA H100 PCIe'],
    ['NVIDIA H100 80GB HBM3', 81_559, 'NVIDIA H100 80GB SXM'],
    ['NVIDIA H200', 143_771, 'NVIDIA H200'],
    ['NVIDIA GeForce RTX 4090 Laptop GPU', 16_376, null],
    ['NVIDIA GeForce RTX 9999', 24_564, null],
  ];
  for (const [name, vramMib, expected] of cards) assert.equal(known(name, vramMib), expected, name);
});
