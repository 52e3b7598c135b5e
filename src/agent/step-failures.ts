// What a step that failed tells: to the log of the node, and as the reason of the run, without any secret of it.
import type { RunError } from '../protocol/agent-messages.ts';
import { secretsOf } from './container-order.ts';
import { tellWithout } from './docker-errors.ts';
import type { ExecutorDeps } from './executor-deps.ts';
import type { RunRecord } from './run-record.ts';
import { RuntimeError } from './runtime.ts';

export function warn(
  deps: ExecutorDeps,
  record: RunRecord,
  { error, action }: { error: unknown; action: string },
): void {
  const reason = toRunError(record, error).message;
  deps.log.warn({ run_uuid: record.runUuid, attempt: record.attempt, action, reason }, 'step failed');
}

/** Code and sentence that may leave the node: no secret of the run in it. */
export function toRunError(record: RunRecord, error: unknown): RunError {
  const secrets = record.desired === null ? [] : secretsOf(record.desired.container);
  if (error instanceof RuntimeError) return { code: error.code, message: tellWithout(secrets, error) };
  const engineText = error instanceof Error ? error.message : String(error);
  const wrapped = new RuntimeError('engine_error', 'The container engine failed.', { engineText });
  return { code: wrapped.code, message: tellWithout(secrets, wrapped) };
}
