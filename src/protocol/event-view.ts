// An event as clients and webhooks get it.
import type { Event } from './event.ts';

export function eventView(event: {
  id: number;
  kind: string;
  jobId: string | null;
  runId: string | null;
  fromStatus: string | null;
  toStatus: string | null;
  actor: Record<string, unknown>;
  detail: Record<string, unknown> | null;
  createdAtMs: number;
}): Event {
  return {
    object: 'event',
    id: event.id,
    kind: event.kind,
    job_uuid: event.jobId,
    job_run_uuid: event.runId,
    from_status: event.fromStatus,
    to_status: event.toStatus,
    actor: event.actor,
    detail: event.detail,
    created_at: new Date(event.createdAtMs).toISOString(),
  };
}
