// Every byte of an engine's log is stored once, whatever agents and connections are lost on the way.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { DesiredRun, LogChunk, LogStream } from '../protocol/agent-messages.ts';
import type { Clock } from './clock.ts';
import { LogShipper, windowBytes } from './log-shipper.ts';
import type { LogEntry, LogRequest } from './runtime.ts';

/** Delays pass at once, in the order of the event loop. */
const hastyClock: Clock = {
  nowMs: () => 0,
  wallMs: () => Date.parse('2027-01-01T00:00:00Z'),
  after(_delayMs, task) {
    const immediate = setImmediate(task);
    return () => clearImmediate(immediate);
  },
};

/** A container's log as the engine keeps it; it has ended, so following it ends too. */
class EngineLog {
  entries: LogEntry[];

  constructor(entries: readonly LogEntry[]) {
    this.entries = [...entries];
  }

  async *readLogs({ since, signal }: LogRequest): AsyncGenerator<readonly LogEntry[]> {
    const shown = this.entries.filter((entry) => since === null || entry.timestamp >= since);
    for (let start = 0; start < shown.length; start += 3) {
      await new Promise(setImmediate);
      if (signal.aborted) throw new Error('aborted');
      yield shown.slice(start, start + 3);
    }
  }
}

/** What the server stored; `isTaking` false: the chunk is lost with its connection. */
class Store {
  readonly bytes: Record<LogStream, Buffer> = { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) };
  readonly positions: Record<LogStream, string | null> = { stdout: null, stderr: null };
  faults = 0;

  take({ stream, offset, bytes_base64, position }: LogChunk): void {
    const bytes = Buffer.from(bytes_base64, 'base64');
    if (offset === this.bytes[stream].length) {
      this.bytes[stream] = Buffer.concat([this.bytes[stream], bytes]);
      this.positions[stream] = position;
    } else if (offset + bytes.length !== this.bytes[stream].length) this.faults += 1;
  }

  get place(): DesiredRun['log'] {
    const of = (stream: LogStream) => ({
      offset: this.bytes[stream].length,
      position: this.positions[stream],
    });
    return { stdout: of('stdout'), stderr: of('stderr') };
  }
}

function shipperFor(engine: EngineLog, store: Store, send: (chunk: LogChunk) => boolean): LogShipper {
  return new LogShipper({
    runtime: engine,
    clock: hastyClock,
    containerId: 'c',
    runUuid: 'r',
    attempt: 1,
    from: store.place,
    send,
    onChange() {},
  });
}

async function until(isTrue: () => boolean): Promise<void> {
  for (let turn = 0; !isTrue(); turn += 1) {
    assert.ok(turn < 100_000, 'waited in vain');
    await new Promise(setImmediate);
  }
}

async function drainInto(engine: EngineLog, store: Store): Promise<LogShipper> {
  const shipper = shipperFor(engine, store, (chunk) => {
    store.take(chunk);
    setImmediate(() => shipper.acknowledge(chunk.stream, store.bytes[chunk.stream].length));
    return true;
  });
  shipper.drain();
  await shipper.run();
  await until(() => shipper.isAcknowledged);
  return shipper;
}

function contentOf(entries: readonly LogEntry[], stream: LogStream): string {
  return Buffer.concat(entries.filter((entry) => entry.stream === stream).map(({ bytes }) => bytes)).toString(
    'utf8',
  );
}

/** Ticks are milliseconds; the same tick twice and steps back are the hard cases. */
function entriesOf(steps: readonly { step: number; isError: boolean }[]): LogEntry[] {
  let atMs = Date.parse('2026-01-31T12:00:00Z');
  return steps.map(({ step, isError }, index) => {
    atMs += step;
    const timestamp = `${new Date(atMs).toISOString().slice(0, 23)}000000Z`;
    return { stream: isError ? 'stderr' : 'stdout', timestamp, bytes: Buffer.from(`line ${index}\n`) };
  });
}

/** Silence of hours is longer than what is read again; steps back are shorter. */
const step = fc.oneof(
  { weight: 9, arbitrary: fc.integer({ min: -2000, max: 3000 }) },
  { weight: 1, arbitrary: fc.constant(3 * 60 * 60_000) },
);
const someEntries = fc
  .array(fc.record({ step, isError: fc.boolean() }), { maxLength: 60, size: 'max' })
  .map(entriesOf);

test('agents that die at any point lose and double nothing, also when the clock steps back', async () => {
  await fc.assert(
    fc.asyncProperty(someEntries, fc.array(fc.nat(4), { maxLength: 4 }), async (entries, lives) => {
      const store = new Store();
      for (const [life, chunkCount] of lives.entries()) {
        const written = Math.ceil((entries.length * (life + 1)) / (lives.length + 1));
        let taken = 0;
        const shipper = shipperFor(new EngineLog(entries.slice(0, written)), store, (chunk) => {
          if (taken < chunkCount) store.take(chunk);
          taken += 1;
          return true;
        });
        void shipper.run();
        for (let turn = 0; turn < 6 * chunkCount; turn += 1) await new Promise(setImmediate);
        shipper.stop();
      }
      await drainInto(new EngineLog(entries), store);
      assert.equal(store.faults, 0);
      for (const stream of ['stdout', 'stderr'] as const) {
        assert.equal(store.bytes[stream].toString(), contentOf(entries, stream));
      }
    }),
    { numRuns: 300 },
  );
});

test('bytes that the server lost are read again; bytes that it has are not sent', async () => {
  const entries = entriesOf(Array.from({ length: 20 }, () => ({ step: 1, isError: false })));
  const store = new Store();
  const sent: number[] = [];
  const shipper = shipperFor(new EngineLog(entries), store, (chunk) => {
    sent.push(chunk.offset);
    store.take(chunk);
    shipper.acknowledge(chunk.stream, store.bytes[chunk.stream].length);
    return true;
  });
  shipper.drain();
  await shipper.run();
  const whole = store.bytes.stdout.toString();
  assert.equal(whole, contentOf(entries, 'stdout'));
  sent.length = 0;
  shipper.resend(store.place);
  assert.deepEqual(sent, []);
  Object.assign(store.bytes, { stdout: Buffer.alloc(0) });
  Object.assign(store.positions, { stdout: null });
  shipper.resend(store.place);
  await until(() => shipper.isDrained && shipper.isAcknowledged);
  assert.equal(store.bytes.stdout.toString(), whole);
});

test('a chunk of which a part is stored is cut', async () => {
  const entries = entriesOf(Array.from({ length: 4 }, () => ({ step: 1, isError: false })));
  const store = new Store();
  let isTaking = false;
  const shipper = shipperFor(new EngineLog(entries), store, (chunk) => {
    if (isTaking) store.take(chunk);
    return isTaking;
  });
  shipper.drain();
  await shipper.run();
  store.bytes.stdout = Buffer.from(contentOf(entries, 'stdout').slice(0, 9));
  isTaking = true;
  shipper.resend(store.place);
  assert.equal(store.bytes.stdout.toString(), contentOf(entries, 'stdout'));
  assert.equal(store.faults, 0);
});

test('what the engine rotated away is a stated gap, and the rest comes once', async () => {
  const entries = entriesOf(Array.from({ length: 30 }, () => ({ step: 10, isError: false })));
  const store = new Store();
  await drainInto(new EngineLog(entries.slice(0, 10)), store);
  const shipper = await drainInto(new EngineLog(entries.slice(20)), store);
  assert.equal(shipper.hasGap, true);
  assert.equal(
    store.bytes.stdout.toString(),
    contentOf([...entries.slice(0, 10), ...entries.slice(20)], 'stdout'),
  );
});

test('no more than the window is read ahead of the server', async () => {
  const big = Buffer.alloc(16_384, 'x');
  const entries = entriesOf(Array.from({ length: 200 }, () => ({ step: 1, isError: false })));
  const engine = new EngineLog(entries.map((entry) => ({ ...entry, bytes: big })));
  let sentBytes = 0;
  const shipper = shipperFor(engine, new Store(), (chunk) => {
    sentBytes += Buffer.from(chunk.bytes_base64, 'base64').length;
    return true;
  });
  void shipper.run();
  for (let turn = 0; turn < 2_000; turn += 1) await new Promise(setImmediate);
  assert.ok(sentBytes >= windowBytes && sentBytes <= windowBytes + 3 * big.length, `${sentBytes} bytes`);
  shipper.stop();
});
