// Whether a job that its node failed goes on elsewhere: the node is to blame, so the retry count is left alone.
import type { NodeLossPolicy } from './job.ts';

/** Losses of a node that a job survives: a job that kills its nodes must come to an end. */
export const maxLostRetries = 3;

interface Policy {
  onNodeLost: NodeLossPolicy | null;
  maxRetryCount: number;
}

/** A job may run a second time only where somebody said so: with its policy, or with a retry count. */
export function mayBeReplaced({ onNodeLost, maxRetryCount }: Policy): boolean {
  return onNodeLost === null ? maxRetryCount > 0 : onNodeLost === 'replace';
}
