// Time that is still to come, passed in: whoever waits asks for it here, so that a test can decide when it is over.

export interface Timers {
  /** Calls `task` once after `delayMs`; the returned function takes it back. */
  after(delayMs: number, task: () => void): () => void;
}

/** Resolves after `delayMs`. */
export function pause(timers: Timers, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    timers.after(delayMs, resolve);
  });
}

/** Calls `task` every `everyMs` until the returned function is called. */
export function every(timers: Timers, everyMs: number, task: () => void): () => void {
  let cancel = timers.after(everyMs, tick);
  function tick() {
    cancel = timers.after(everyMs, tick);
    task();
  }
  return () => cancel();
}
