// Samples that agents of this replica sent, written together once a second; one that cannot be written is let go.
import type { Logger } from 'pino';
import type { Database } from '../db/database.ts';
import { type NodeSample, writeSamples } from '../db/hardware-samples.ts';
import type { Sample } from '../protocol/hardware.ts';
import type { AgentSession } from './session.ts';

export class NodeSamples {
  readonly #options: { database: Database; log: Logger };
  /** By node: the last of each within a second, so that none can flood the others. */
  #waiting = new Map<string, NodeSample>();
  #isWriting = false;

  constructor(options: { database: Database; log: Logger }) {
    this.#options = options;
  }

  /** Only of runs that the node was ordered. */
  note(session: AgentSession, sample: Sample): void {
    const { nodeId } = session.identity;
    const own = sample.runs.filter(({ run_uuid }) => session.sentOrders.has(run_uuid));
    const runs = [...new Map(own.map((run) => [run.run_uuid, run])).values()];
    this.#waiting.set(nodeId, { nodeId, sample: { ...sample, runs } });
  }

  /** Never rejects. While the last write is tried, what arrives is let go: it tells of a moment that is over. */
  async flush(): Promise<void> {
    const samples = [...this.#waiting.values()];
    this.#waiting.clear();
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
