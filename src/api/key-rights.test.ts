// What a key may hand on: exactly what lies within its own permissions, time, addresses and rate.
import assert from 'node:assert/strict';
import { BlockList } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { permissions } from '../protocol/api-key.ts';
import type { Caller } from './auth.ts';
import { ApiError } from './errors.ts';
import { type KeyRights, mayGrant } from './key-rights.ts';

const all: KeyRights = { permissions, expiresAtMs: null, allowedIps: [], rateLimitPerSecond: null };

/** Of a caller only the rights of their key are looked at. */
const callerWith = (rights: Partial<KeyRights>): Caller =>
  ({ key: { ...all, ...rights } }) as unknown as Caller;

function isGranted(own: Partial<KeyRights>, asked: Partial<KeyRights>): boolean {
  try {
    mayGrant(callerWith(own), { ...all, permissions: [], ...asked });
    return true;
  } catch (error) {
    assert.ok(error instanceof ApiError && error.code === 'permission_denied');
    return false;
  }
}

const address = fc
  .array(fc.integer({ min: 0, max: 3 }), { minLength: 4, maxLength: 4 })
  .map((parts) => parts.join('.'));
const range = fc.tuple(address, fc.integer({ min: 8, max: 32 })).map(([ip, prefix]) => `${ip}/${prefix}`);

function listOf(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const each of ranges) {
    const [ip = '', prefix] = each.split('/');
    list.addSubnet(ip, Number(prefix), 'ipv4');
  }
  return list;
}

test('an address that the new key is open to is one that the maker’s is open to', () => {
  const ranges = fc.array(range, { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(ranges, ranges, fc.array(address, { minLength: 20, maxLength: 20 }), (own, asked, probes) => {
      fc.pre(isGranted({ allowedIps: own }, { allowedIps: asked }));
      const [outer, inner] = [listOf(own), listOf(asked)];
      for (const probe of [...probes, ...asked.map((each) => each.split('/')[0] ?? '')])
        if (inner.check(probe, 'ipv4'))
          assert.ok(outer.check(probe, 'ipv4'), `${probe}: ${asked} within ${own}`);
    }),
  );
});

test('the same ranges, narrower ones and single addresses in them are granted; wider, others and all are not', () => {
  const own = { allowedIps: ['10.0.0.0/8', '2001:db8::/32', '192.0.2.7'] };
  for (const within of [
    '10.0.0.0/8',
    '10.9.0.0/16',
    '10.1.2.3',
    '2001:db8:1::/48',
    '2001:db8::1',
    '192.0.2.7/32',
  ])
    assert.ok(isGranted(own, { allowedIps: [within] }), within);
  for (const beyond of [
    '0.0.0.0/0',
    '10.0.0.0/7',
    '11.0.0.1',
    '2001:db8::/31',
    '::/0',
    '192.0.2.6/31',
    '::ffff:10.0.0.1',
    '::ffff:10.0.0.1/96',
  ])
    assert.ok(!isGranted(own, { allowedIps: [beyond] }), beyond);
  assert.ok(!isGranted(own, { allowedIps: [] }));
  assert.ok(isGranted({}, { allowedIps: ['0.0.0.0/0'] }) && isGranted({}, {}));
});

test('permissions, expiry and rate: as much as the maker has, and no more', () => {
  const subset = fc.subarray([...permissions]);
  fc.assert(
    fc.property(subset, subset, (own, asked) => {
      const isWithin = asked.every((permission) => own.includes(permission));
      assert.equal(isGranted({ permissions: own }, { permissions: asked }), isWithin);
    }),
  );
  const limits = fc.option(fc.integer({ min: 1, max: 10 }));
  fc.assert(
    fc.property(limits, limits, (own, asked) => {
      const isWithin = own === null || (asked !== null && asked <= own);
      assert.equal(isGranted({ expiresAtMs: own }, { expiresAtMs: asked }), isWithin);
      assert.equal(isGranted({ rateLimitPerSecond: own }, { rateLimitPerSecond: asked }), isWithin);
    }),
  );
});
