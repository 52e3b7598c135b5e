// What every executor of a step works with: the runtime, the way to the server, and what is known of the runs.
import type { AgentMessage, Inventory, LogChunk } from '../protocol/agent-messages.ts';
import type { Clock } from './clock.ts';
import type { NodeIdentity } from './container-order.ts';
import type { EngineHealth } from './engine-health.ts';
import type { GpuGuard } from './gpu-guard.ts';
import type { Images } from './images.ts';
import type { AgentLog } from './log.ts';
import type { RunTarget } from './next-steps.ts';
import type { Outbox } from './outbox.ts';
import type { RunRecord } from './run-record.ts';
import type { Runtime } from './runtime.ts';

export interface ExecutorDeps {
  runtime: Runtime;
  clock: Clock;
  log: AgentLog;
  outbox: Outbox;
  send: (message: AgentMessage) => boolean;
  sendLog: (chunk: LogChunk) => boolean;
  identity: () => NodeIdentity;
  inventory: () => Inventory;
  /** Reads the node anew and tells the server what changed. */
  refreshInventory: () => Promise<void>;
  images: Images;
  gpuGuard: GpuGuard;
  engine: EngineHealth;
  records: Map<string, RunRecord>;
  targets: Map<string, RunTarget>;
  /** Takes a run out of the loop. */
  forget: (record: RunRecord) => void;
  /** Something changed: look again. */
  wake: () => void;
  /** Reads the list of containers again. */
  resync: () => Promise<void>;
}
