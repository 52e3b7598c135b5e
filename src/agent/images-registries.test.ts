// Registries on private addresses are refused, whatever name leads there.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkRegistry, isPrivateAddress, type LookupAddresses } from './images-registries.ts';
import { RuntimeError } from './runtime.ts';

const names: Record<string, string[]> = {
  'registry.example.com': ['93.184.216.34', '2606:2800:220:1::1'],
  'inside.example.com': ['10.1.2.3'],
  'half.example.com': ['93.184.216.34', '127.0.0.1'],
};
const lookup: LookupAddresses = (host) =>
  Promise.resolve(names[host] ?? Promise.reject(new Error('getaddrinfo ENOTFOUND')));

async function codeOf(reference: string, allowed: string[] = []): Promise<string | null> {
  try {
    await checkRegistry(reference, { allowed, lookup });
    return null;
  } catch (error) {
    assert.ok(error instanceof RuntimeError);
    return error.code;
  }
}

test('public registries and the default one are asked', async () => {
  assert.equal(await codeOf('busybox:1'), null);
  assert.equal(await codeOf('registry.example.com/app:1'), null);
  assert.equal(await codeOf('registry.example.com:5000/app:1'), null);
  assert.equal(await codeOf('93.184.216.34:5000/app:1'), null);
});

test('private addresses are refused by number and by name', async () => {
  for (const registry of [
    '127.0.0.1:5000',
    '10.0.0.5',
    '192.168.1.1:443',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0:80',
    '[::1]:5000',
    'inside.example.com',
    'half.example.com',
  ]) {
    assert.equal(await codeOf(`${registry}/app:1`), 'registry_not_allowed', registry);
  }
  assert.equal(await codeOf('nowhere.example.com/app:1'), 'registry_unreachable');
});

test('the operator allows a host, a host and port, or a range', async () => {
  assert.equal(await codeOf('127.0.0.1:5000/app:1', ['127.0.0.1:5000']), null);
  assert.equal(await codeOf('127.0.0.1:5001/app:1', ['127.0.0.1:5000']), 'registry_not_allowed');
  assert.equal(await codeOf('127.0.0.1:5001/app:1', ['127.0.0.1']), null);
  assert.equal(await codeOf('inside.example.com:5000/app:1', ['inside.example.com']), null);
  assert.equal(await codeOf('inside.example.com/app:1', ['10.1.0.0/16']), null);
  assert.equal(await codeOf('half.example.com/app:1', ['10.1.0.0/16']), 'registry_not_allowed');
  assert.equal(await codeOf('[::1]:5000/app:1', ['::1/128']), null);
});

test('addresses written as IPv4 inside IPv6 are seen through', () => {
  assert.equal(isPrivateAddress('::ffff:127.0.0.1'), true);
  assert.equal(isPrivateAddress('::ffff:93.184.216.34'), false);
  assert.equal(isPrivateAddress('fd00::1'), true);
  assert.equal(isPrivateAddress('2606:2800:220:1::1'), false);
});
