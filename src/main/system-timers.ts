// Time that is still to come, by the machine's own clock.
import type { Timers } from '../domain/timers.ts';

export const systemTimers: Timers = {
  after(delayMs, task) {
    const timer = setTimeout(task, delayMs);
    return () => clearTimeout(timer);
  },
};
