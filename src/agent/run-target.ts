// From the server's order to the target of the rules.
import type { DesiredRun } from '../protocol/agent-messages.ts';
import type { RunTarget } from './next-steps.ts';

/** A stop or kill that was once wanted stays wanted; its deadline only comes nearer. */
export function toTarget(run: DesiredRun, known: RunTarget | undefined, nowMs: number): RunTarget {
  const { attempt, desired, status, stop } = run;
  const same = known !== undefined && known.attempt === attempt ? known : null;
  if (same?.kind === 'kill') return same;
  if (desired === 'run' && same?.kind === 'stop') return same;
  if (desired === 'run') {
    return { kind: 'run', attempt, mayStart: status === 'ASSIGNED' || status === 'PREPARING' };
  }
  const graceMs = stop?.grace_ms ?? 0;
  const requestedAtMs = nowMs - (stop?.requested_ms_ago ?? 0);
  if (same?.kind !== 'stop') return { kind: 'stop', attempt, graceMs, requestedAtMs };
  return {
    kind: 'stop',
    attempt,
    graceMs: Math.min(graceMs, same.graceMs),
    requestedAtMs: Math.min(requestedAtMs, same.requestedAtMs),
  };
}
