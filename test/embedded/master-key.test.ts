// The master key from file and environment.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readOrCreateMasterKey } from '../../src/embedded/master-key.ts';
import { scratchFolder } from './fixture.ts';

test('it is made once, 0600, and read back the same', (t) => {
  const folder = scratchFolder(t);
  const file = join(folder, 'master.key');
  const made = readOrCreateMasterKey({ file, env: {} });
  assert.equal(made.key.length, 32);
  assert.equal(made.id, createHash('sha256').update(made.key).digest('hex').slice(0, 8));
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(folder), ['master.key']);
  assert.deepEqual(readOrCreateMasterKey({ file, env: {} }), made);
});

test('hex, base64 and base64url are read; the environment wins and makes no file', (t) => {
  const file = join(scratchFolder(t), 'master.key');
  const key = randomBytes(32);
  for (const encoding of ['hex', 'base64', 'base64url'] as const) {
    const env = { FLOTILLA_MASTER_KEY: ` ${key.toString(encoding)}\n` };
    assert.deepEqual(readOrCreateMasterKey({ file, env }).key, key);
  }
  writeFileSync(file, key.toString('hex'));
  const other = randomBytes(32).toString('base64');
  assert.equal(
    readOrCreateMasterKey({ file, env: { FLOTILLA_MASTER_KEY: other } }).key.toString('base64'),
    other,
  );
  assert.deepEqual(readOrCreateMasterKey({ file, env: { FLOTILLA_MASTER_KEY: '' } }).key, key);
});

test('a malformed key names its source and is left alone', (t) => {
  const file = join(scratchFolder(t), 'master.key');
  for (const text of ['', 'short', randomBytes(31).toString('base64'), randomBytes(33).toString('hex')]) {
    writeFileSync(file, text);
    assert.throws(
      () => readOrCreateMasterKey({ file, env: {} }),
      /The master key file .*master\.key does not hold a master key/,
    );
    assert.equal(readFileSync(file, 'utf8'), text);
  }
  const env = { FLOTILLA_MASTER_KEY: 'zz' };
  assert.throws(
    () => readOrCreateMasterKey({ file, env }),
    /environment variable FLOTILLA_MASTER_KEY.*found 2 characters/,
  );
});
