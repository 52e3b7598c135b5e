// The agent's state file: whole or as it was, also on a full disk.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { RuntimeError } from './runtime.ts';
import { openStateFile } from './state-file.ts';

function inFolder(body: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-state-'));
  try {
    body(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test('what was written is read; a file that is no JSON is told apart from none', () =>
  inFolder((folder) => {
    const file = openStateFile(join(folder, 'deep', 'state.json'));
    assert.equal(file.read(), null);
    file.write({ a: 1 });
    assert.deepEqual(openStateFile(join(folder, 'deep', 'state.json')).read(), { content: { a: 1 } });
    assert.deepEqual(readdirSync(join(folder, 'deep')), ['state.json']);
    execFileSync('truncate', ['--size=3', join(folder, 'deep', 'state.json')]);
    assert.equal(file.read(), 'unreadable');
  }));

const needsMount = { skip: process.getuid?.() === 0 ? false : 'a small filesystem is mounted as root only' };

test(
  'on a full disk the write fails with a sentence, what stood before stands, and later writes work',
  needsMount,
  () =>
    inFolder((folder) => {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder]);
      try {
        const file = openStateFile(join(folder, 'state.json'));
        const small = { text: 'x'.repeat(10_000) };
        file.write(small);
        // The new file fits in part: what is left of the disk takes its beginning.
        assert.throws(
          () => file.write({ text: 'y'.repeat(60_000) }),
          (error: unknown) =>
            error instanceof RuntimeError && error.code === 'no_space' && /disk is full/.test(error.message),
        );
        assert.deepEqual(file.read(), { content: small });
        file.write({ text: 'z' });
        assert.deepEqual(file.read(), { content: { text: 'z' } });
      } finally {
        execFileSync('umount', [folder]);
      }
    }),
);
