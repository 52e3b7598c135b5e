// The engine's own places are left out of an exported tree, and everything else comes through byte for byte.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import fc from 'fast-check';
import { withoutScaffold } from './volumes-tar.ts';

const createdS = 1_700_000_000;

/** A tar of files and folders (with a slash at the end), each with its age against the container's creation. */
function aTar(entries: [path: string, content: string, ageS: number][]): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-tar-'));
  try {
    for (const [path, content] of entries) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      if (path.endsWith('/')) mkdirSync(join(folder, path), { recursive: true });
      else writeFileSync(join(folder, path), content);
    }
    for (const [path, , ageS] of [...entries].reverse()) {
      utimesSync(join(folder, path), createdS - ageS, createdS - ageS);
    }
    const names = execFileSync('sh', ['-c', 'find . -mindepth 1 | sort | cut -c3-'], { cwd: folder });
    const options = ['--format=pax', '--no-recursion', '--verbatim-files-from', '-T', '-'];
    return execFileSync('tar', ['-C', folder, '-c', ...options], { input: names });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function filtered(tar: Buffer, chunkBytes = 1000): Promise<Buffer> {
  const chunks = Array.from({ length: Math.ceil(tar.length / chunkBytes) }, (_, index) =>
    tar.subarray(index * chunkBytes, (index + 1) * chunkBytes),
  );
  const parts: Buffer[] = [];
  for await (const part of withoutScaffold(Readable.from(chunks), createdS)) parts.push(part);
  return Buffer.concat(parts);
}

function namesIn(tar: Buffer): string[] {
  return execFileSync('tar', ['-t'], { input: tar }).toString().trim().split('\n').filter(Boolean);
}

test('what the engine made is left out, what the image has stays', async () => {
  const tar = aTar([
    ['.dockerenv', '', 0],
    ['data/hosts', '', 0],
    ['dev/', '', 0],
    ['dev/console', '', 0],
    ['dev/pts/', '', 0],
    ['etc/', '', 0],
    ['etc/hosts', '', 0],
    ['etc/passwd', 'root', 5],
    ['etc/resolv.conf', 'nameserver', 0],
    ['proc/', '', 0],
    ['sys/', '', 60],
  ]);
  assert.deepEqual(namesIn(await filtered(tar)), [
    'data/',
    'data/hosts',
    'etc/',
    'etc/passwd',
    'etc/resolv.conf',
    'sys/',
  ]);
});

test('a tree without anything of the engine comes through unchanged, however the stream is cut', async () => {
  const tar = aTar([
    [`long/${'n'.repeat(200)}/${'ü'.repeat(90)}`, 'x'.repeat(3_000), 9],
    ['a', '', 9],
    ['b', 'x'.repeat(512), 9],
  ]);
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 5_000 }), async (chunkBytes) => {
      assert.ok((await filtered(tar, chunkBytes)).equals(tar));
    }),
    { numRuns: 30 },
  );
});

test('a stream that breaks off is an error, in a file and between two', async () => {
  const tar = aTar([
    ['a', 'x'.repeat(5_000), 9],
    ['b', '', 9],
  ]);
  for (let length = 512; length <= 5_120 + 1_024; length += 512) {
    await assert.rejects(filtered(tar.subarray(0, length)), /ended/, `${length} bytes`);
  }
});
