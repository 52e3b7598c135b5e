// Samples that agents of this replica sent, written together once a second; one that cannot be written is let go.
import type { Logger } from 'pino';
import type { Database } from '../db/database.ts';
import { type NodeSample, writeSamples } from '../db/hardware-samples.ts';
import type { Sample } from '../protocol/hardware.ts';
import type { AgentSession } from './session.ts';

export class NodeSamples {
  readonly #options: { database: Database; log: Logger };
  #waiting: NodeSample[] = [];
  #isWriting = false;

  constructor(options: { database: Database; log: Logger }) {
    this.#options = options;
  }

  /** Only of runs that the node was ordered. */
  note(session: AgentSession, sample: Sample): void {
    const runs = sample.runs.filter(({ run_uuid }) => session.sentOrders.has(run_uuid));
    this.#waiting.push({ nodeId: session.identity.nodeId, sample: { ...sample, runs } });
  }

  /** Never rejects. While the last write is tried, what arrives is let go: it tells of a moment that is over. */
  async flush(): Promise<void> {
    const samples = this.#waiting;
    this.#waiting = [];
    if (samples.length === 0 || this.#isWriting) return;
    this.#isWriting = true;
    try {
      await writeSamples(this.#options.database, samples);
    } catch (error) {
      this.#options.log.warn({ err: error, samples: samples.length }, 'Samples of nodes were not stored.');
    } finally {
      this.#isWriting = false;
    }
  }
}
