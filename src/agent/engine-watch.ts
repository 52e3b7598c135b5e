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
  /** The stream of events ended after it had begun: the engine is gone, or just was. */
  onBreak: () => void;
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

async function watchEvents({
  runtime,
  clock,
  log,
  nodeUuid,
  look,
  onBreak,
  onChange,
  signal,
}: EngineWatch): Promise<void> {
  while (!signal.aborted) {
    let isOpen = false;
    const onReady = () => {
      isOpen = true;
      void look();
    };
    await runtime.watchContainers(nodeUuid, { onReady, onChange, signal }).catch((error: unknown) => {
      if (!signal.aborted && isOpen)
        log.warn({ reason: String(error) }, 'the engine stopped telling of events');
    });
    if (isOpen && !signal.aborted) {
      onBreak();
      void look();
    }
    await sleep(clock, eventsRetryMs, signal);
  }
}
