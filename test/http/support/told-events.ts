// What agents of a played history tell of their runs.
import type { RunEvent } from '../../../src/protocol/agent-messages.ts';

export const runningEvent: RunEvent = {
  ...{ kind: 'running', started_ms_ago: 0, image_digest: null, image_size_bytes: null, ports: [] },
};
export const releasedEvent: RunEvent = { kind: 'released', is_log_complete: true, steps: [] };

export function exitedEvent(exitCode: number): RunEvent {
  return {
    ...{ kind: 'exited', exit_code: exitCode, exit_signal: null, is_oom_killed: false, ended_ms_ago: 0 },
    ...{ ran_ms: 1, error: null, last_log_lines: '' },
  };
}

export function withAge(event: RunEvent, ageMs: number): RunEvent {
  if (event.kind === 'running') return { ...event, started_ms_ago: ageMs };
  return event.kind === 'exited' ? { ...event, ended_ms_ago: ageMs } : event;
}
