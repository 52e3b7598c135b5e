// The way into containers, played by the test: what was asked for, and the test's end of each stream.
import { type Duplex, duplexPair } from 'node:stream';
import type { RunStreams, StreamTarget } from '../../../src/api/run-streams.ts';

export interface Opened {
  run: { nodeId: string; runId: string };
  target: StreamTarget;
  /** The agent's end. */
  agent: Duplex;
}

export interface FakeStreams extends RunStreams {
  opened: Opened[];
  /** What the next stream is answered with; undefined: it is accepted. */
  refusal: Error | undefined;
  /** Sees each stream as it is opened. */
  onOpen: (opened: Opened) => void;
}

export function fakeStreams(): FakeStreams {
  const fake: FakeStreams = {
    opened: [],
    refusal: undefined,
    onOpen: () => {},
    async open(run, target) {
      if (fake.refusal !== undefined) throw fake.refusal;
      const [server, agent] = duplexPair({ highWaterMark: 256 * 1024 });
      agent.on('error', () => {});
      // As of an HTTP/2 stream: one end's close is the other's.
      server.once('close', () => agent.destroy());
      agent.once('close', () => {
        if (!agent.writableEnded) server.destroy();
      });
      const opened = { run: { nodeId: run.nodeId, runId: run.runId }, target, agent };
      fake.opened.push(opened);
      fake.onOpen(opened);
      return server;
    },
  };
  return fake;
}

/** An agent's refusal, as the gateway passes it on. */
export function refusedBy(agent: { status: number; code: string; message: string }): Error {
  return Object.assign(new Error(agent.message), { ...agent, name: 'StreamRefused' });
}
