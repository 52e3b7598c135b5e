// Packs a statically linked busybox into the file tree of a container image.

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { pack } from 'tar-stream';

const run = promisify(execFile);

/** A tar of bin/busybox with a link for each of its commands, /tmp and a root user; for Docker's import. */
export async function packBusyboxImage(program: string): Promise<Buffer> {
  const { stdout } = await run(program, ['--list'], { timeout: 10_000 });
  const commands = stdout.split('\n').filter((name) => name !== '' && name !== 'busybox');
  const image = pack();
  const chunks: Buffer[] = [];
  image.on('data', (chunk) => Buffer.isBuffer(chunk) && chunks.push(chunk));
  const packed = new Promise<void>((resolve, reject) => image.on('end', resolve).on('error', reject));
  image.entry({ name: 'bin', type: 'directory', mode: 0o755 });
  image.entry({ name: 'etc', type: 'directory', mode: 0o755 });
  image.entry({ name: 'root', type: 'directory', mode: 0o700 });
  // A tmpfs mounted there takes over the mode.
  image.entry({ name: 'tmp', type: 'directory', mode: 0o1777 });
  image.entry({ name: 'etc/passwd' }, 'root:x:0:0:root:/root:/bin/sh\n');
  image.entry({ name: 'etc/group' }, 'root:x:0:\n');
  image.entry({ name: 'bin/busybox', mode: 0o755 }, readFileSync(program));
  for (const name of commands) image.entry({ name: `bin/${name}`, type: 'symlink', linkname: 'busybox' });
  image.finalize();
  await packed;
  return Buffer.concat(chunks);
}

/** A program that names an interpreter (PT_INTERP) needs libraries which the image does not have. See elf(5). */
export function isStaticallyLinked(program: string): boolean {
  const elf = readFileSync(program);
  if (elf.length < 64 || elf.readUInt32BE(0) !== 0x7f454c46) return false;
  const is64Bit = elf[4] === 2;
  const tableOffset = is64Bit ? Number(elf.readBigUInt64LE(32)) : elf.readUInt32LE(28);
  const entrySize = elf.readUInt16LE(is64Bit ? 54 : 42);
  const entryCount = elf.readUInt16LE(is64Bit ? 56 : 44);
  const interpreter = 3;
  const types = Array.from({ length: entryCount }, (_, index) =>
    elf.readUInt32LE(tableOffset + index * entrySize),
  );
  return !types.includes(interpreter);
}
