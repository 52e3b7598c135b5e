// From a request to stop to the order that is written: who asks, why, and with what grace.
import type { StopOrder } from '../db/job-stops.ts';
import { actorOf, type Caller } from './auth.ts';

export function stopOrderOf(
  caller: Caller,
  body: { reason?: string | null; stop_grace_ms?: number | null },
): StopOrder {
  const reason = body.reason || 'Cancelled by user';
  const actor = actorOf(caller);
  return {
    accountId: caller.accountId,
    nonce: caller.nonce,
    reason,
    detail: { code: 'stopped', text: reason, by: actor },
    graceMs: body.stop_grace_ms ?? null,
    actor,
  };
}
