// Watches the engine's containers: events for speed, the whole list every few seconds for truth.
import { type Clock, sleep } from './clock.ts';
import type { AgentLog } from './log.ts';
import type { Runtime } from './runtime.ts';

export interface EngineWatch {
  runtime: Runtime;
  clock: Clock;
  log: AgentLog;
  nodeUuid: string;
  /** Between two looks at the whole list. */
  everyMs: number;
  /** Reads the whole list; settles also when it cannot. */
  look: () => Promise<unknown>;
  onChange: (runUuid: string) => void;
  signal: AbortSignal;
}

export const eventsRetryMs = 500;

/** Until the signal. */
export async function watchEngine(watch: EngineWatch): Promise<void> {
  const { clock, everyMs, look, signal } = watch;
  void watchEvents(watch);
  while (!signal.aborted) {
    await sleep(clock, everyMs, signal);
    if (!signal.aborted) await look();
  }
}

async function watchEvents({ runtime, clock, log, nodeUuid, look, onChange, signal }: EngineWatch) {
  while (!signal.aborted) {
    const options = { onReady: () => void look(), onChange, signal };
    await runtime.watchContainers(nodeUuid, options).catch((error: unknown) => {
      if (!signal.aborted) log.warn({ reason: String(error) }, 'the engine stopped telling of events');
    });
    await sleep(clock, eventsRetryMs, signal);
  }
}
