// Names of real cards as drivers report them, against what people write.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hasVram, matchesGpuName } from './gpu-match.ts';

function card(name: string, vramMib = 24_564) {
  return { name, vramMib };
}

const same: [string, string][] = [
  ['RTX 4090', 'NVIDIA GeForce RTX 4090'],
  ['NVIDIA RTX 4090', 'NVIDIA GeForce RTX 4090'],
  ['NVIDIA GeForce RTX 4090', 'NVIDIA GeForce RTX 4090'],
  ['GeForce RTX 4090', 'RTX 4090'],
  ['4090', 'NVIDIA GeForce RTX 4090'],
  ['rtx4090', 'NVIDIA GeForce RTX 4090'],
  ['RTX_4090', 'NVIDIA GeForce RTX 4090'],
  ['RTX 4070Ti SUPER', 'NVIDIA GeForce RTX 4070 Ti SUPER'],
  ['4090D', 'NVIDIA GeForce RTX 4090 D'],
  ['A100', 'NVIDIA A100-SXM4-80GB'],
  ['A100 80GB', 'NVIDIA A100-SXM4-80GB'],
  ['A100 80 GB', 'NVIDIA A100 80GB PCIe'],
  ['H100', 'NVIDIA H100 80GB HBM3'],
  ['H100 PCIe', 'NVIDIA H100 PCIe'],
  ['Tesla T4', 'NVIDIA T4'],
  ['T4', 'Tesla T4'],
  ['RTX 6000', 'Quadro RTX 6000'],
  ['RTX 6000 Ada', 'NVIDIA RTX 6000 Ada Generation'],
  ['A6000', 'NVIDIA RTX A6000'],
  ['RTX PRO 6000', 'NVIDIA RTX PRO 6000 Blackwell Server Edition'],
  ['Instinct MI300X', 'AMD Instinct MI300X'],
];

const different: [string, string][] = [
  ['RTX 4090', 'NVIDIA GeForce RTX 4090 D'],
  ['RTX 4090 D', 'NVIDIA GeForce RTX 4090'],
  ['RTX 4090', 'NVIDIA GeForce RTX 4090 Laptop GPU'],
  ['RTX 4070', 'NVIDIA GeForce RTX 4070 Ti'],
  ['RTX 4070 Ti', 'NVIDIA GeForce RTX 4070 Ti SUPER'],
  ['RTX 6000', 'NVIDIA RTX 6000 Ada Generation'],
  ['RTX 6000', 'NVIDIA RTX A6000'],
  ['RTX 6000', 'NVIDIA RTX PRO 6000 Blackwell Server Edition'],
  ['L4', 'NVIDIA L40'],
  ['L40', 'NVIDIA L40S'],
  ['A10', 'NVIDIA A100-SXM4-80GB'],
  ['A100 40GB', 'NVIDIA A100-SXM4-80GB'],
  ['A100 PCIe', 'NVIDIA A100-SXM4-80GB'],
  ['A100', 'NVIDIA A100-SXM4-40GB MIG 1g.5gb'],
  ['AMD 4090', 'NVIDIA GeForce RTX 4090'],
  ['RTX 1660', 'NVIDIA GeForce GTX 1660'],
  ['NVIDIA', 'NVIDIA GeForce RTX 4090'],
  ['', 'NVIDIA GeForce RTX 4090'],
];

for (const [asked, name] of same) {
  test(`${asked} is ${name}`, () => assert.equal(matchesGpuName(asked, card(name, 81_920)), true));
}

for (const [asked, name] of different) {
  test(`${asked || 'nothing'} is not ${name}`, () => {
    assert.equal(matchesGpuName(asked, card(name, 81_920)), false);
  });
}

test('memory asked for in the name is answered by the card where its name leaves it out', () => {
  assert.equal(matchesGpuName('RTX 4060 Ti 16GB', card('NVIDIA GeForce RTX 4060 Ti', 16_380)), true);
  assert.equal(matchesGpuName('RTX 4060 Ti 16GB', card('NVIDIA GeForce RTX 4060 Ti', 8188)), false);
  assert.equal(matchesGpuName('L40S 48GB', card('NVIDIA L40S', 46_068)), true);
});

test('a name matches itself in any case and with any vendor words left out', () => {
  const names = [...same, ...different].map(([, name]) => name);
  fc.assert(
    fc.property(fc.constantFrom(...names), fc.boolean(), (name, isUpper) => {
      const short = name.replace(/NVIDIA |AMD |GeForce |Quadro |Tesla /g, '');
      const asked = isUpper ? short.toUpperCase() : short.toLowerCase();
      assert.equal(matchesGpuName(asked, card(name)), true);
    }),
  );
});

test('a card has the memory it is sold with, and no more', () => {
  const sold: [number, number][] = [
    [24_564, 24],
    [32_607, 32],
    [11_441, 12],
    [15_360, 16],
    [23_034, 24],
    [46_068, 48],
    [81_559, 80],
    [143_771, 141],
  ];
  for (const [vramMib, gb] of sold) {
    assert.equal(hasVram(card('card', vramMib), gb), true, `${vramMib} MiB is ${gb} GB`);
    assert.equal(hasVram(card('card', vramMib), gb * 1.1), false, `${vramMib} MiB is not ${gb * 1.1} GB`);
  }
});

test('the registry can say more than the driver', () => {
  assert.equal(hasVram({ name: 'Tesla T4', vramMib: 15_109 }, 16), false);
  assert.equal(hasVram({ name: 'Tesla T4', vramMib: 15_109, registryVramGb: 16 }, 16), true);
});
