// Shows events as the API does, and webhooks with them.
import type { EventRecord } from '../db/events.ts';
import type { Event } from '../protocol/event.ts';
import { timestamp } from './job-view.ts';

export function eventView(event: Omit<EventRecord, 'writtenIn' | 'accountId'>): Event {
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
    created_at: timestamp(event.createdAtMs),
  };
}
