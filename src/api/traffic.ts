// Requests under way on this replica, and its leave: what asks for readiness or waits for something learns of it.
import type { FastifyInstance } from 'fastify';

export class Traffic {
  readonly #stopping = new AbortController();
  readonly #waiting = new Set<() => void>();
  #count = 0;

  /** Aborted when this replica stops: who waits answers with what there is. */
  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  stop(): void {
    this.#stopping.abort();
  }

  /** Counts requests from their head to the end of their answer; while stopping no connection is kept for another one. */
  watch(app: FastifyInstance): void {
    app.addHook('onRequest', (_request, reply, done) => {
      this.#count += 1;
      // Also when the client goes first.
      reply.raw.once('close', () => this.#end());
      if (this.#stopping.signal.aborted) reply.header('connection', 'close');
      done();
    });
  }

  /** Resolves when no request is under way, at the latest after `patienceMs`; answers how many are left. */
  async quiet(patienceMs: number): Promise<number> {
    if (this.#count > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, patienceMs);
        this.#waiting.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    return this.#count;
  }

  #end(): void {
    this.#count -= 1;
    if (this.#count > 0) return;
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}
