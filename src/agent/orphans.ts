// Containers of this cluster that the server did not name: kept for a while, told as long as they are there.
import type { AgentMessage } from '../protocol/agent-messages.ts';
import type { AgentLog } from './log.ts';
import { orphanKeptMs } from './next-steps.ts';
import type { RunRecord } from './run-record.ts';

export class OrphanTeller {
  readonly #send: (message: AgentMessage) => boolean;
  readonly #log: AgentLog;
  /** The server has an empty list of this connection. */
  #isEmptyTold = false;

  constructor(send: (message: AgentMessage) => boolean, log: AgentLog) {
    this.#send = send;
    this.#log = log;
  }

  disconnect(): void {
    this.#isEmptyTold = false;
  }

  /** The whole list; the server says which of them have ended. `isHeld`: none is removed until the admin's word. */
  tell(orphans: readonly RunRecord[], { nowMs, isHeld }: { nowMs: number; isHeld: boolean }): void {
    const fresh = orphans.filter((record) => record.orphanSinceMs === null);
    for (const record of fresh) record.orphanSinceMs = nowMs;
    const containers = orphans.flatMap((record) => foundOrphan(record, isHeld ? null : nowMs));
    if (fresh.length > 0)
      this.#log.warn({ containers }, 'containers that the server did not name; kept for a while');
    if (containers.length > 0 || !this.#isEmptyTold) {
      const isSent = this.#send({ type: 'orphans', containers });
      this.#isEmptyTold = isSent && containers.length === 0;
    }
  }
}

function foundOrphan({ runUuid, attempt, container: state, orphanSinceMs }: RunRecord, nowMs: number | null) {
  if (state === 'absent') return [];
  const removal_ms =
    nowMs === null ? null : Math.max(0, Math.round((orphanSinceMs ?? nowMs) + orphanKeptMs - nowMs));
  return [{ run_uuid: runUuid, attempt, state, removal_ms }];
}
