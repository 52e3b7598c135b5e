// allowed_ips: which addresses match which ranges, over both families.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressRule, plainAddress } from './address-rules.ts';

const cases: { allowed: string[]; admits: string[]; refuses: string[] }[] = [
  { allowed: [], admits: ['10.0.0.1', '::1', '2001:db8::1', '::ffff:8.8.8.8'], refuses: [] },
  { allowed: ['0.0.0.0/0'], admits: ['10.0.0.1', '2001:db8::1'], refuses: [] },
  { allowed: ['::/0'], admits: ['2001:db8::1'], refuses: [] },
  { allowed: ['10.0.0.1'], admits: ['10.0.0.1', '::ffff:10.0.0.1'], refuses: ['10.0.0.2', '::1'] },
  { allowed: ['10.0.0.0/8'], admits: ['10.255.0.1'], refuses: ['11.0.0.1', '2001:db8::1'] },
  { allowed: ['::ffff:10.0.0.0/104'], admits: ['10.9.9.9', '::ffff:10.9.9.9'], refuses: ['11.0.0.1'] },
  { allowed: ['2001:db8::/32'], admits: ['2001:db8:ffff::1'], refuses: ['2001:db9::1', '10.0.0.1'] },
  { allowed: ['2001:db8::5'], admits: ['2001:db8:0:0::5'], refuses: ['2001:db8::6'] },
  { allowed: ['fe80::/10'], admits: ['fe80::1%eth0'], refuses: ['10.0.0.1'] },
  { allowed: ['nonsense', '10.0.0.0/33', '10.0.0.0/'], admits: [], refuses: ['10.0.0.1', '::1', '', 'x'] },
];

for (const { allowed, admits, refuses } of cases) {
  test(`allowed_ips [${allowed}]`, () => {
    const mayEnter = addressRule(allowed);
    for (const address of admits) assert.equal(mayEnter(address), true, address);
    for (const address of refuses) assert.equal(mayEnter(address), false, address);
  });
}

test("the operator's ranges always pass, and open nothing else", () => {
  const mayEnter = addressRule(['10.0.0.1'], ['127.0.0.0/8', '::1']);
  assert.deepEqual(['127.0.0.9', '::1', '10.0.0.1', '10.0.0.2'].map(mayEnter), [true, true, true, false]);
});

test('an IPv4 range holds exactly the addresses that share its prefix', () => {
  const address = fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255));
  const number = (parts: readonly number[]) => parts.reduce((sum, part) => sum * 256 + part, 0);
  fc.assert(
    fc.property(address, address, fc.integer({ min: 1, max: 32 }), (range, client, bits) => {
      const size = 2 ** (32 - bits);
      const isWithin = Math.floor(number(range) / size) === Math.floor(number(client) / size);
      const mayEnter = addressRule([`${range.join('.')}/${bits}`]);
      assert.equal(mayEnter(client.join('.')), isWithin);
      assert.equal(mayEnter(`::ffff:${client.join('.')}`), isWithin);
    }),
  );
});

test('an address is plain without its zone and its IPv6 clothes', () => {
  assert.equal(plainAddress('::ffff:1.2.3.4'), '1.2.3.4');
  assert.equal(plainAddress('::FFFF:1.2.3.4'), '1.2.3.4');
  assert.equal(plainAddress('fe80::1%eth0'), 'fe80::1');
  assert.equal(plainAddress('::1'), '::1');
});
