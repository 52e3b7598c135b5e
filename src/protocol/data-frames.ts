// Frames of a data connection: one byte of kind, four of length (big-endian), then the payload, which for `bytes` is passed on as it comes.

export const frameKinds = { open: 1, accept: 2, refuse: 3, bytes: 4, end: 5, ping: 6 } as const;
export type FrameKind = keyof typeof frameKinds;

export interface FrameSink {
  /** A piece of what a `bytes` frame carries; it lies in the buffer that was read. */
  bytes(piece: Buffer): void;
  /** A whole frame of another kind. */
  frame(kind: Exclude<FrameKind, 'bytes'>, payload: Buffer): void;
}

const headerBytes = 5;
/** Of a frame that is held until it is whole; `bytes` frames are not. */
const maxHeldBytes = 256 * 1024;
const kindOfCode: ReadonlyMap<number, FrameKind> = new Map(
  Object.entries(frameKinds).map(([kind, code]) => [code, kind as FrameKind]),
);

export function frameHeader(kind: FrameKind, payloadBytes: number): Buffer {
  const header = Buffer.allocUnsafe(headerBytes);
  header[0] = frameKinds[kind];
  header.writeUInt32BE(payloadBytes, 1);
  return header;
}

/** Cuts what is read into frames, without copying the bytes of streams. Throws when it cannot be ours. */
export class DataFrameReader {
  readonly #sink: FrameSink;
  #head: Buffer = Buffer.alloc(0);
  #kind: FrameKind | null = null;
  /** Of the present frame, still to come. */
  #missingBytes = 0;
  #held: Buffer[] = [];

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  read(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#kind === null) at = this.#readHeader(chunk, at);
      else at = this.#readPayload(this.#kind, chunk, at);
    }
  }

  #readHeader(chunk: Buffer, at: number): number {
    const part = chunk.subarray(at, at + headerBytes - this.#head.length);
    const head = this.#head.length === 0 ? part : Buffer.concat([this.#head, part]);
    this.#head = head;
    if (head.length < headerBytes) return at + part.length;
    const kind = kindOfCode.get(head[0] ?? 0);
    const payloadBytes = head.readUInt32BE(1);
    if (kind === undefined) throw new Error(`A frame of kind ${head[0]} is not ours.`);
    if (kind !== 'bytes' && payloadBytes > maxHeldBytes)
      throw new Error(`A frame of ${payloadBytes} bytes is too large.`);
    this.#head = Buffer.alloc(0);
    this.#kind = kind;
    this.#missingBytes = payloadBytes;
    if (payloadBytes === 0) this.#finish(kind);
    return at + part.length;
  }

  #readPayload(kind: FrameKind, chunk: Buffer, at: number): number {
    const piece = chunk.subarray(at, at + this.#missingBytes);
    this.#missingBytes -= piece.length;
    if (kind === 'bytes') this.#sink.bytes(piece);
    else this.#held.push(piece);
    if (this.#missingBytes === 0) this.#finish(kind);
    return at + piece.length;
  }

  #finish(kind: FrameKind): void {
    const payload = Buffer.concat(this.#held);
    this.#kind = null;
    this.#held = [];
    if (kind !== 'bytes') this.#sink.frame(kind, payload);
  }
}
