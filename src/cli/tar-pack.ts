// Packs a local file or folder as the tar that is unpacked in a container.
import { createReadStream, type Stats } from 'node:fs';
import { lstat, readdir, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type Header, type Pack, pack } from 'tar-stream';
import { UsageError } from './errors.ts';

export interface Packed {
  tar: Readable;
  /** Grows while the tar is read: what is neither file, folder nor link. */
  skipped: string[];
}

/** `name` is the root's name in the tar; null: only what lies in the folder is packed. Files belong to user 0. */
export async function packTree(source: string, name: string | null): Promise<Packed> {
  const found = await stat(source).catch((cause: unknown) => {
    throw new UsageError(`Cannot read ${source}: there is no such file or folder.`, { cause });
  });
  if (name === null && !found.isDirectory()) throw new UsageError(`${source} is not a folder.`);
  const tar = pack();
  const skipped: string[] = [];
  addTree({ tar, skipped }, { path: source, name: name ?? '', found }).then(
    () => tar.finalize(),
    (error) => tar.destroy(error),
  );
  // Its streams are not Node's own, though they behave so.
  return { tar: Readable.from(tar), skipped };
}

type EntryHeader = Partial<Header> & Pick<Header, 'name'>;

interface Item {
  path: string;
  name: string;
  found: Stats;
}

async function addTree(into: { tar: Pack; skipped: string[] }, item: Item): Promise<void> {
  const { path, name, found } = item;
  const header = { name, mode: found.mode & 0o777, mtime: found.mtime, uid: 0, gid: 0 };
  if (found.isSymbolicLink()) {
    await addEntry(into.tar, { ...header, type: 'symlink', linkname: await readlink(path) });
  } else if (found.isDirectory()) {
    if (name !== '') await addEntry(into.tar, { ...header, type: 'directory' });
    for (const child of (await readdir(path)).sort()) {
      const childPath = join(path, child);
      const childName = name === '' ? child : `${name}/${child}`;
      await addTree(into, { path: childPath, name: childName, found: await lstat(childPath) });
    }
  } else if (found.isFile()) await addFile(into.tar, item, { ...header, type: 'file', size: found.size });
  else into.skipped.push(`${path}: neither file, folder nor link`);
}

function addEntry(tar: Pack, header: EntryHeader): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: Error | null) => (error ? reject(error) : resolve());
    tar.entry(header, '', settle);
  });
}

async function addFile(tar: Pack, { path, found }: Item, header: EntryHeader): Promise<void> {
  // An empty file has no bytes to wait for.
  if (found.size === 0) return addEntry(tar, header);
  try {
    await new Promise<void>((resolve, reject) => {
      const entry = tar.entry(header, (error) => (error ? reject(error) : resolve()));
      fill(entry, createReadStream(path, { end: found.size - 1 })).catch(reject);
    });
  } catch (cause) {
    const reason =
      (cause as { code?: string }).code === 'EACCES' ? 'permission denied' : 'it changed, or cannot be read';
    throw new UsageError(`Cannot copy ${path}: ${reason}.`, { cause });
  }
}

/** By hand: an entry is no stream of Node's own, and a pipeline would not see its end. */
async function fill(entry: ReturnType<Pack['entry']>, bytes: Readable): Promise<void> {
  for await (const chunk of bytes) {
    if (!entry.write(chunk)) await new Promise<void>((resolve) => void entry.once('drain', resolve));
  }
  entry.end(null);
}
