// One stream on a data connection: a Duplex whose end and break are different things, also through proxies that know no half-close.
import { Duplex } from 'node:stream';
import type { StreamRefusal } from '../protocol/data-streams.ts';

/** What a stream needs of the connection it is on. */
export interface Line {
  /** What was read beyond the stream's buffer waits in the kernel until this. */
  resume(): void;
  sendBytes(chunks: readonly Buffer[], sent: (error?: Error | null) => void): void;
  sendEnd(sent: (error?: Error | null) => void): void;
  accept(): void;
  refuse(refusal: StreamRefusal): void;
  /** No stream will use the connection any more: the other end hears that nobody listens. */
  hangUp(): void;
  /** The stream is destroyed: in order when both ends were said, else the connection goes with it. */
  leave(stream: DataStream): void;
}

/** A stalled reader costs one buffer of the kernel and about one read here. */
const readBufferBytes = 16 * 1024;
const writeBufferBytes = 64 * 1024;

export class DataStream extends Duplex {
  readonly #line: Line;

  constructor(line: Line) {
    super({ readableHighWaterMark: readBufferBytes, writableHighWaterMark: writeBufferBytes });
    this.#line = line;
  }

  /** The other end may begin. Said once, by the end that did not open the stream. */
  accept(): void {
    this.#line.accept();
  }

  /** Instead of accepting; the connection is free for another stream. */
  refuse(refusal: StreamRefusal): void {
    if (this.destroyed) return;
    this.#line.refuse(refusal);
    this.destroy();
  }

  /** Everything written still arrives, then the end; what comes in is dropped, and the other end is told so. */
  finish(): void {
    this.resume();
    if (this.writableFinished) this.#line.hangUp();
    else this.once('finish', () => this.#line.hangUp());
    this.end();
  }

  override _read(): void {
    this.#line.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#line.sendBytes([chunk], done);
  }

  override _writev(items: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#line.sendBytes(
      items.map(({ chunk }) => chunk),
      done,
    );
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#line.sendEnd(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#line.leave(this);
    done(error);
  }
}
