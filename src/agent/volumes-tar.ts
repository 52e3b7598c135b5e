// The file tree of an image as its engine exports it, without what the engine itself put into it.
//
// An engine makes places for its mounts in every container it creates (/.dockerenv, /etc/hosts, /dev/pts …), and exports them
// with the rest. They are told from the image's own files by their names, their emptiness and their time. An image's own
// /etc/hosts and the like do not come back: the engine has put its empty ones in their place.

const blockBytes = 512;
const scaffoldFiles = new Set([
  '.dockerenv',
  'dev/console',
  'etc/hostname',
  'etc/hosts',
  'etc/mtab',
  'etc/resolv.conf',
]);
/** Left out unless something of the image is in them: making places in an image's own empty /dev changes its time too. */
const scaffoldFolders = new Set(['dev', 'dev/pts', 'dev/shm', 'etc', 'proc', 'sys']);

interface Entry {
  path: string;
  type: string;
  sizeBytes: number;
  mtimeS: number;
}

/** The same tar stream; `sinceS` is when the container was created, in epoch seconds by the engine's clock. */
export async function* withoutScaffold(
  tar: AsyncIterable<Buffer>,
  sinceS: number,
): AsyncGenerator<Buffer, void, undefined> {
  const reader = new BlockReader(tar);
  const heldFolders: { path: string; blocks: Buffer[] }[] = [];
  let prefix: Buffer[] = [];
  let paxSizeBytes: number | null = null;
  while (true) {
    const header = await reader.read(blockBytes);
    if (header === null) throw brokenOff();
    const entry = readHeader(header);
    if (entry === null) {
      // The end: blocks of zeros.
      yield header;
      yield* reader.rest();
      return;
    }
    if (isExtension(entry.type)) {
      const content = await reader.read(padded(entry.sizeBytes));
      if (content === null) throw brokenOff();
      prefix.push(header, content);
      if (entry.type === 'x') paxSizeBytes = paxSize(content);
      continue;
    }
    const blocks = [...prefix, header];
    const bodyBytes = padded(paxSizeBytes ?? entry.sizeBytes);
    prefix = [];
    paxSizeBytes = null;
    while (heldFolders.length > 0 && !entry.path.startsWith(`${heldFolders.at(-1)?.path}/`))
      heldFolders.pop();
    const isNew = entry.mtimeS >= sinceS && bodyBytes === 0;
    if (isNew && scaffoldFiles.has(entry.path)) continue;
    if (isNew && entry.type === '5' && scaffoldFolders.has(entry.path)) {
      heldFolders.push({ path: entry.path, blocks });
      continue;
    }
    for (const folder of heldFolders.splice(0)) yield* folder.blocks;
    yield* blocks;
    yield* reader.pass(bodyBytes);
  }
}

function brokenOff(): Error {
  return new Error('The tree of files ended before its end.');
}

/** Headers that say more of the entry after them: PAX records, GNU long names. */
function isExtension(type: string): boolean {
  return type === 'x' || type === 'g' || type === 'L' || type === 'K';
}

// Source: the ustar header of POSIX.1-2017, pax(1).
function readHeader(header: Buffer): Entry | null {
  if (header.every((byte) => byte === 0)) return null;
  const text = (from: number, length: number) => {
    const field = header.subarray(from, from + length);
    const end = field.indexOf(0);
    return field.subarray(0, end === -1 ? length : end).toString('utf8');
  };
  const folder = text(345, 155);
  const name = text(0, 100);
  const path = folder === '' ? name : `${folder}/${name}`;
  return {
    path: path.replace(/^(\.?\/)+/, '').replace(/\/+$/, ''),
    type: text(156, 1) || '0',
    sizeBytes: number(header, 124),
    mtimeS: number(header, 136),
  };
}

/** Octal digits, or for large values a binary number after the bit that says so. */
function number(header: Buffer, from: number): number {
  const field = header.subarray(from, from + 12);
  if (((field[0] ?? 0) & 0x80) !== 0) return Number(field.subarray(4).readBigUInt64BE());
  return Number.parseInt(field.toString('latin1').replace(/\0.*$/s, '').trim() || '0', 8);
}

function paxSize(content: Buffer): number | null {
  const match = /(?:^|\n)\d+ size=(\d+)\n/.exec(content.toString('latin1'));
  return match === null ? null : Number(match[1]);
}

function padded(sizeBytes: number): number {
  return Math.ceil(sizeBytes / blockBytes) * blockBytes;
}

class BlockReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #left: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Buffer>) {
    this.#chunks = source[Symbol.asyncIterator]();
  }

  /** Exactly so many bytes; null at the end of the stream. */
  async read(length: number): Promise<Buffer | null> {
    const parts: Buffer[] = [];
    let missing = length;
    while (missing > 0) {
      const part = await this.#next(missing);
      if (part === null) return null;
      parts.push(part);
      missing -= part.length;
    }
    return parts.length === 1 ? (parts[0] ?? null) : Buffer.concat(parts);
  }

  async *pass(length: number): AsyncGenerator<Buffer> {
    let missing = length;
    while (missing > 0) {
      const part = await this.#next(missing);
      if (part === null) throw brokenOff();
      yield part;
      missing -= part.length;
    }
  }

  async *rest(): AsyncGenerator<Buffer> {
    while (true) {
      const part = await this.#next(Number.POSITIVE_INFINITY);
      if (part === null) return;
      yield part;
    }
  }

  async #next(atMost: number): Promise<Buffer | null> {
    while (this.#left.length === 0) {
      const { done, value } = await this.#chunks.next();
      if (done) return null;
      this.#left = value;
    }
    const part = this.#left.subarray(0, Math.min(atMost, this.#left.length));
    this.#left = this.#left.subarray(part.length);
    return part;
  }
}
