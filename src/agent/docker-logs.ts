// From the engine's multiplexed log stream to entries: frame header, timestamp, bytes.
import type { LogEntry } from './runtime.ts';

const headerBytes = 8;
/** The engine writes entries of at most 16 KiB; more than this is no frame of ours but a broken stream. */
const maxFrameBytes = 16 * 1024 * 1024;

/** Keeps the incomplete tail between chunks. One frame is one entry, since timestamps are asked for. */
export class LogFrames {
  #rest: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): LogEntry[] {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const entries: LogEntry[] = [];
    while (bytes.length >= headerBytes) {
      const length = bytes.readUInt32BE(4);
      if (length > maxFrameBytes)
        throw new Error(`The engine's log stream is broken: a frame of ${length} bytes.`);
      if (bytes.length < headerBytes + length) break;
      const stream = bytes[0] === 2 ? 'stderr' : 'stdout';
      entries.push({ stream, ...splitEntry(bytes.subarray(headerBytes, headerBytes + length)) });
      bytes = bytes.subarray(headerBytes + length);
    }
    this.#rest = bytes;
    return entries;
  }
}

function splitEntry(frame: Buffer): { timestamp: string; bytes: Buffer } {
  const space = frame.indexOf(0x20);
  if (space < 0) throw new Error("The engine's log entry has no timestamp.");
  const timestamp = normalTimestamp(frame.toString('latin1', 0, space));
  return { timestamp, bytes: frame.subarray(space + 1) };
}

const fixedWidth = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/;
const anyWidth = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;

/** Fixed width and UTC, so that order as text is order in time. */
export function normalTimestamp(text: string): string {
  if (fixedWidth.test(text)) return text;
  const match = anyWidth.exec(text);
  if (match === null) throw new Error(`The engine's log entry has no timestamp but "${text.slice(0, 40)}".`);
  const [, seconds = '', fraction = '', zone = ''] = match;
  const utc = new Date(`${seconds}${zone}`).toISOString().slice(0, 19);
  return `${utc}.${fraction.padEnd(9, '0')}Z`;
}

/** `seconds.nanoseconds`, as the engine wants `since`. */
export function toEngineTime(timestamp: string): string {
  const seconds = Math.floor(Date.parse(`${timestamp.slice(0, 19)}Z`) / 1000);
  return `${Math.max(0, seconds)}.${timestamp.slice(20, 29).padEnd(9, '0')}`;
}
