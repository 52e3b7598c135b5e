// Mappings of claims: exact values, lists, verified addresses, and nobody by accident.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type IdentityMapping, mappingFor } from './identity-mapping.ts';

const mapping = (claim: string, value: string, account = 'team'): IdentityMapping => ({
  ...{ claim, value, account },
  preset: 'consumer',
});

test('without a mapping nobody gets in', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (claims) => mappingFor(claims, []) === null),
  );
});

test('a claim fits when it is the value or a list that holds it, and never by a part of it', () => {
  const groups = [mapping('groups', 'gpu')];
  assert.ok(mappingFor({ groups: 'gpu' }, groups));
  assert.ok(mappingFor({ groups: ['staff', 'gpu'] }, groups));
  for (const other of ['gpus', 'GPU', ['gpu2'], {}, null, [['gpu']], { gpu: true }, 'staff,gpu'])
    assert.equal(mappingFor({ groups: other }, groups), null, JSON.stringify(other));
  assert.ok(mappingFor({ is_staff: true }, [mapping('is_staff', 'true')]));
  assert.equal(mappingFor({}, [mapping('toString', '*'), mapping('__proto__', '*')]), null);
});

test('an address must be verified, and its case does not count', () => {
  const ann = [mapping('email', 'ann@example.org')];
  assert.ok(mappingFor({ email: 'Ann@Example.org', email_verified: true }, ann));
  for (const verified of [false, undefined, 'true', 1])
    assert.equal(mappingFor({ email: 'ann@example.org', email_verified: verified }, ann), null);
  assert.equal(mappingFor({ email: 'x@y', email_verified: false }, [mapping('email', '*')]), null);
});

test('the first that fits counts, and * is any value', () => {
  const both = [mapping('groups', 'admins', 'first'), mapping('sub', '*', 'second')];
  assert.equal(mappingFor({ sub: 'a', groups: ['admins'] }, both)?.account, 'first');
  assert.equal(mappingFor({ sub: 'a', groups: [] }, both)?.account, 'second');
  assert.equal(mappingFor({ sub: '', groups: [] }, [mapping('groups', '*')]), null);
});
