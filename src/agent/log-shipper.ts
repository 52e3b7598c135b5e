// Ships one run's log: reads both streams from the engine, cuts chunks, keeps each until the server stored it.
//
// INVARIANTS
// - A chunk holds whole entries, so its position is exact; offsets count content bytes of its stream, without gaps.
// - At most `windowBytes` of a run are unacknowledged; beyond that the engine's stream is not read on.
// - The reader goes on from what was read, never from what was acknowledged: unacknowledged chunks are kept here.
import { type DesiredRun, type LogChunk, type LogStream, logStreams } from '../protocol/agent-messages.ts';
import { type Clock, sleep } from './clock.ts';
import {
  advance,
  CountedEntries,
  earlier,
  formatPosition,
  type LogPosition,
  parsePosition,
} from './log-position.ts';
import { type LogEntry, type Runtime, RuntimeError } from './runtime.ts';

const chunkBytes = 256 * 1024;
const flushMs = 200;
export const windowBytes = 1024 * 1024;
/** Within a session a step back of the clock is seen; after a restart nobody watched it. */
const sessionMarginMs = 1_000;
const clockStepMs = 500;
const restartMarginMs = 60 * 60_000;
const reopenMs = 300;
/** The engine ends a followed stream with the container; after such a silence it is read again to its end. */
const followEndMs = 1_000;

export interface LogShipperOptions {
  runtime: Pick<Runtime, 'readLogs'>;
  clock: Clock;
  containerId: string;
  runUuid: string;
  attempt: number;
  from: DesiredRun['log'];
  /** false: not taken, to be offered again after `resend`. */
  send: (chunk: LogChunk) => boolean;
  /** Something that the next steps depend on changed. */
  onChange: () => void;
}

interface Chunk {
  offset: number;
  bytes: Buffer;
  position: LogPosition;
  isSent: boolean;
}

interface Track {
  /** End of what was read. */
  readBytes: number;
  position: LogPosition | null;
  buffered: Buffer[];
  bufferedBytes: number;
  pending: Chunk[];
  counted: CountedEntries;
}

export class LogShipper {
  readonly #options: LogShipperOptions;
  readonly #tracks: Record<LogStream, Track>;
  readonly #stop = new AbortController();
  #read = new AbortController();
  #cancelFlush: (() => void) | null = null;
  #wakeReader: (() => void) | null = null;
  #pause = new AbortController();
  #isRunning = false;
  #heardAtMs = 0;
  /** Wall time minus monotonic time: it falls when the wall clock is set back. */
  readonly #clockOffsetMs: number;
  #isRestart = true;
  #isDrainAsked = false;
  isDrained = false;
  /** Bytes were lost between engine and agent. */
  hasGap = false;

  constructor(options: LogShipperOptions) {
    this.#options = options;
    this.#clockOffsetMs = options.clock.wallMs() - options.clock.nowMs();
    this.#tracks = { stdout: trackFrom(options.from.stdout), stderr: trackFrom(options.from.stderr) };
  }

  /** Reads until drained or stopped. */
  async run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      await this.#readAll();
    } finally {
      this.#isRunning = false;
    }
  }

  async #readAll(): Promise<void> {
    while (!this.isDrained && !this.#stop.signal.aborted) {
      const isDraining = this.#isDrainAsked;
      const isRead = await this.#readThrough(!isDraining);
      if (this.#stop.signal.aborted) return;
      if (isRead && isDraining) {
        this.#flush();
        this.isDrained = true;
        this.#options.onChange();
      } else if (!this.#isDrainAsked || !isRead) {
        this.#pause = new AbortController();
        await sleep(this.#options.clock, reopenMs, this.#pause.signal);
      }
    }
  }

  /** The container has ended: read what is left and finish. */
  drain(): void {
    if (this.#isDrainAsked) return;
    this.#isDrainAsked = true;
    this.#pause.abort();
    this.#endFollow(this.#read, this.#options.clock.nowMs());
  }

  /** A stream that still brings its backlog, or waits for the window, is left to it. */
  #endFollow(read: AbortController, sinceMs: number): void {
    const { clock } = this.#options;
    clock.after(followEndMs, () => {
      if (this.#read !== read || read.signal.aborted || this.#stop.signal.aborted) return;
      const isBusy = this.#heardAtMs > sinceMs || this.#wakeReader !== null;
      if (isBusy) this.#endFollow(read, clock.nowMs());
      else read.abort();
    });
  }

  stop(): void {
    this.#stop.abort();
    this.#read.abort();
    this.#pause.abort();
    this.#cancelFlush?.();
    for (const stream of logStreams) Object.assign(this.#tracks[stream], { pending: [], buffered: [] });
  }

  get isAcknowledged(): boolean {
    return logStreams.every((stream) => {
      const { pending, bufferedBytes } = this.#tracks[stream];
      return pending.length === 0 && bufferedBytes === 0;
    });
  }

  acknowledge(stream: LogStream, offset: number): void {
    const track = this.#tracks[stream];
    track.pending = track.pending.filter((chunk) => chunk.offset + chunk.bytes.length > offset);
    this.#wakeReader?.();
    if (this.isDrained && this.isAcknowledged) this.#options.onChange();
  }

  /** A new connection: the server told what it has, everything after it goes again. */
  resend(from: DesiredRun['log']): void {
    for (const stream of logStreams) {
      this.#cut(stream);
      const { offset, position } = from[stream];
      const track = this.#tracks[stream];
      const firstOffset = track.pending[0]?.offset ?? track.readBytes;
      if (offset < firstOffset || offset > track.readBytes) {
        this.#reset(stream, { offset, position });
        continue;
      }
      track.pending = track.pending.flatMap((chunk) => cutBefore(chunk, offset));
      for (const chunk of track.pending) chunk.isSent = false;
    }
    this.#sendPending();
    this.#wakeReader?.();
    this.#options.onChange();
  }

  /** What the server has is not what this agent remembers: the server is right, read again from there. */
  #reset(stream: LogStream, from: DesiredRun['log']['stdout']): void {
    this.#tracks[stream] = trackFrom(from);
    this.#isRestart = true;
    this.isDrained = false;
    this.#read.abort();
    void this.run();
  }

  /** Whether the stream was read to its end. */
  async #readThrough(isFollowing: boolean): Promise<boolean> {
    const { runtime, containerId } = this.#options;
    const read = new AbortController();
    this.#read = read;
    try {
      const since = this.#since();
      for (const stream of logStreams) {
        this.#tracks[stream].counted = new CountedEntries(this.#tracks[stream].position);
      }
      const request = { containerId, since, isFollowing, signal: read.signal };
      for await (const entries of runtime.readLogs(request)) {
        this.#heardAtMs = this.#options.clock.nowMs();
        for (const entry of entries) this.#accept(entry, since);
        await this.#waitForWindow(read.signal);
        if (read.signal.aborted) return false;
      }
      this.#isRestart = false;
      return true;
    } catch (error) {
      if (read.signal.aborted) return false;
      // Gone or unreadable for good: nothing more will come.
      if (error instanceof RuntimeError && !error.isRetryable && this.#isDrainAsked) this.hasGap = true;
      return error instanceof RuntimeError && !error.isRetryable;
    }
  }

  #since(): string | null {
    const positions = logStreams.map((stream) => this.#tracks[stream].position);
    const known = positions.flatMap((position) => (position === null ? [] : [position.timestamp])).sort();
    const [first, last] = [known[0], known.at(-1)];
    if (first === undefined || last === undefined) return null;
    const { clock } = this.#options;
    const isSetBack = clock.wallMs() - clock.nowMs() < this.#clockOffsetMs - clockStepMs;
    if (!this.#isRestart) return isSetBack ? null : earlier(last, sessionMarginMs);
    // One stream may lag behind the other, and a clock that went back hides what was written since.
    const isClockBehind = new Date(clock.wallMs()).toISOString() < last;
    return known.length < positions.length || isClockBehind ? null : earlier(first, restartMarginMs);
  }

  #accept({ stream, timestamp, bytes }: LogEntry, since: string | null): void {
    const track = this.#tracks[stream];
    if (track.counted.wasCounted(timestamp)) return;
    if (track.counted.hasGap && track.position !== null && track.position.timestamp >= (since ?? '')) {
      this.hasGap = true;
    }
    track.counted.hasGap = false;
    if (track.bufferedBytes + bytes.length > chunkBytes) this.#flush();
    track.position = advance(track.position, timestamp);
    track.readBytes += bytes.length;
    track.buffered.push(bytes);
    track.bufferedBytes += bytes.length;
    this.#cancelFlush ??= this.#options.clock.after(flushMs, () => this.#flush());
  }

  #flush(): void {
    this.#cancelFlush?.();
    this.#cancelFlush = null;
    for (const stream of logStreams) this.#cut(stream);
    this.#sendPending();
  }

  #cut(stream: LogStream): void {
    const track = this.#tracks[stream];
    if (track.bufferedBytes === 0 || track.position === null) return;
    const bytes = Buffer.concat(track.buffered);
    track.pending.push({
      offset: track.readBytes - bytes.length,
      bytes,
      position: track.position,
      isSent: false,
    });
    track.buffered = [];
    track.bufferedBytes = 0;
  }

  #sendPending(): void {
    const { runUuid, attempt, send } = this.#options;
    for (const stream of logStreams) {
      for (const chunk of this.#tracks[stream].pending) {
        if (chunk.isSent) continue;
        chunk.isSent = send({
          type: 'log',
          run_uuid: runUuid,
          attempt,
          stream,
          offset: chunk.offset,
          bytes_base64: chunk.bytes.toString('base64'),
          position: formatPosition(chunk.position),
        });
        if (!chunk.isSent) break;
      }
    }
  }

  async #waitForWindow(signal: AbortSignal): Promise<void> {
    while (this.#unacknowledgedBytes() >= windowBytes && !signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wakeReader = resolve;
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    this.#wakeReader = null;
  }

  #unacknowledgedBytes(): number {
    const of = ({ pending, bufferedBytes }: Track) =>
      pending.reduce((sum, chunk) => sum + chunk.bytes.length, bufferedBytes);
    return of(this.#tracks.stdout) + of(this.#tracks.stderr);
  }
}

function trackFrom({ offset, position }: { offset: number; position: string | null }): Track {
  const parsed = parsePosition(position);
  return {
    readBytes: offset,
    position: parsed,
    buffered: [],
    bufferedBytes: 0,
    pending: [],
    counted: new CountedEntries(parsed),
  };
}

function cutBefore(chunk: Chunk, offset: number): Chunk[] {
  const end = chunk.offset + chunk.bytes.length;
  if (end <= offset) return [];
  if (chunk.offset >= offset) return [chunk];
  return [{ ...chunk, offset, bytes: chunk.bytes.subarray(offset - chunk.offset) }];
}
