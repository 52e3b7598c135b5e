// Unpacks a tar from a container, which may be hostile: nothing outside the target is written, and no link leads out of it.
import type { Stats } from 'node:fs';
import { chmod, link, lstat, mkdir, open, symlink, unlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { extract, type Header } from 'tar-stream';
import { UsageError } from './errors.ts';

export interface ExtractTarget {
  /** Absolute path that the tar's root becomes; its parent exists. */
  root: string;
  /** Name that every entry begins with; null: the entries are what lies in the root. */
  prefix: string | null;
}

export interface Extracted {
  fileCount: number;
  /** Entries left out: links that lead outside, devices; each with its reason. */
  skipped: string[];
}

type Entry = AsyncIterable<unknown> & { header: Header; resume(): unknown };

/** Rejects at the first entry whose name leads out; what was unpacked before it stays. */
export async function extractTree(tar: Readable, target: ExtractTarget): Promise<Extracted> {
  const unpacking = extract();
  const broken = new AbortController();
  const tree = new Tree(target, broken.signal);
  // Its streams are not Node's own: they take bytes as those do, but do not say to an entry that its rest will not come.
  const reading = pipeline(tar, unpacking as unknown as NodeJS.WritableStream);
  reading.catch((error) => broken.abort(error));
  const taking = (async () => {
    for await (const entry of unpacking) await tree.take(entry);
  })();
  try {
    await Promise.all([taking, reading]);
  } catch (error) {
    unpacking.destroy();
    throw error;
  }
  await tree.finish();
  return { fileCount: tree.fileCount, skipped: tree.skipped };
}

const defaultFolderMode = 0o755;
/** setuid and setgid are not taken over: whoever copies is not whom the container meant. */
const modeMask = 0o777;
const ownerAccess = 0o700;

class Tree {
  readonly skipped: string[] = [];
  fileCount = 0;
  readonly #target: ExtractTarget;
  /** Folders known to be real ones: no link is ever put where a folder is. */
  readonly #folders = new Set<string>();
  /** Set at the end, since writing into a folder needs access to it and changes its time. */
  readonly #folderHeaders: { path: string; header: Header }[] = [];

  readonly #broken: AbortSignal;

  constructor(target: ExtractTarget, broken: AbortSignal) {
    this.#target = target;
    this.#broken = broken;
  }

  async take(entry: Entry): Promise<void> {
    const { header } = entry;
    const parts = this.#partsOf(header.name);
    if (header.type === 'file' || header.type === 'contiguous-file') return this.#putFile(parts, entry);
    entry.resume();
    if (header.type === 'directory') return this.#putFolder(parts, header);
    if (header.type === 'symlink') return this.#putSymlink(parts, header);
    if (header.type === 'link') return this.#putLink(parts, header);
    this.#skip(header, `a ${header.type} is not copied`);
  }

  async finish(): Promise<void> {
    for (const { path, header } of this.#folderHeaders.reverse()) {
      await chmod(path, header.mode & modeMask);
      await utimes(path, header.mtime, header.mtime);
    }
  }

  /** The entry's place below the root; empty: the root itself. */
  #partsOf(name: string): string[] {
    const parts = name.split('/').filter((part) => part !== '' && part !== '.');
    const { prefix } = this.#target;
    const isInside = prefix === null || parts.shift() === prefix;
    if (isInside && !parts.includes('..')) return parts;
    throw new UsageError(
      `The container sent "${name}", which lies outside what was asked for; nothing more was copied.`,
    );
  }

  #pathOf(parts: readonly string[]): string {
    return join(this.#target.root, ...parts);
  }

  /** Makes the folders that lead to an entry, or refuses where a link or file is in the way. */
  async #makeParents(parts: readonly string[]): Promise<void> {
    for (let depth = 0; depth < parts.length; depth += 1) await this.#makeFolder(parts.slice(0, depth));
  }

  async #makeFolder(parts: readonly string[]): Promise<void> {
    const path = this.#pathOf(parts);
    if (this.#folders.has(path)) return;
    const found = await lstatOrNull(path);
    if (found === null) await mkdir(path, { mode: defaultFolderMode });
    else if (!found.isDirectory()) {
      const what = found.isSymbolicLink() ? 'a link' : 'a file';
      throw new UsageError(`${path} is ${what}, but a folder is to be copied there; remove it first.`);
    }
    this.#folders.add(path);
  }

  async #putFolder(parts: readonly string[], header: Header): Promise<void> {
    await this.#makeParents(parts);
    await this.#makeFolder(parts);
    const path = this.#pathOf(parts);
    await chmod(path, (header.mode & modeMask) | ownerAccess);
    this.#folderHeaders.push({ path, header });
  }

  async #putFile(parts: readonly string[], entry: Entry): Promise<void> {
    const path = await this.#clear(parts);
    // "wx" follows no link and opens nothing that is there already.
    const file = await open(path, 'wx', 0o600);
    await pipeline(entry as AsyncIterable<Uint8Array>, file.createWriteStream(), { signal: this.#broken });
    await chmod(path, entry.header.mode & modeMask);
    await utimes(path, entry.header.mtime, entry.header.mtime);
    this.fileCount += 1;
  }

  async #putSymlink(parts: readonly string[], header: Header): Promise<void> {
    const to = header.linkname || '';
    if (parts.length === 0) {
      throw new UsageError(`"${header.name}" in the container is a link to "${to}"; copy that path instead.`);
    }
    if (!staysInside(to, parts.length - 1))
      return this.#skip(header, `it is a link to "${to}", outside of what is copied`);
    await symlink(to, await this.#clear(parts));
    this.fileCount += 1;
  }

  async #putLink(parts: readonly string[], header: Header): Promise<void> {
    const to = this.#partsOf(header.linkname || '');
    for (let depth = 0; depth < to.length; depth += 1) {
      if (!this.#folders.has(this.#pathOf(to.slice(0, depth)))) {
        return this.#skip(header, 'it is the same file as one that was not copied');
      }
    }
    const found = await lstatOrNull(this.#pathOf(to));
    if (!found?.isFile()) return this.#skip(header, 'it is the same file as one that was not copied');
    await link(this.#pathOf(to), await this.#clear(parts));
    this.fileCount += 1;
  }

  /** The entry's path with nothing there; a folder in the way is refused. */
  async #clear(parts: readonly string[]): Promise<string> {
    await this.#makeParents(parts);
    const path = this.#pathOf(parts);
    const found = await lstatOrNull(path);
    if (found?.isDirectory()) {
      throw new UsageError(`${path} is a folder, but a file is to be copied there; remove it first.`);
    }
    if (found !== null) await unlink(path);
    return path;
  }

  #skip(header: Header, reason: string): void {
    this.skipped.push(`${header.name}: ${reason}`);
  }
}

/**
 * Relative, and ".." only in front, at most as often as the link lies deep: those are real folders. What follows leads
 * down, at most through links of which the same is true. ("a/.." is not nothing where "a" is a link.)
 */
export function staysInside(to: string, depth: number): boolean {
  if (to === '' || to.startsWith('/') || to.includes('\0')) return false;
  const parts = to.split('/').filter((part) => part !== '' && part !== '.');
  const ups = parts.findIndex((part) => part !== '..');
  const upCount = ups === -1 ? parts.length : ups;
  return upCount <= depth && !parts.slice(upCount).includes('..');
}

async function lstatOrNull(path: string): Promise<Stats | null> {
  try {
    return await lstat(path);
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return null;
    throw error;
  }
}
