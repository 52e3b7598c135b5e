// Events of jobs that are no change of state: who ran what in a container, who moved which files.
import type { Sql } from './database.ts';

export async function recordJobEvent(
  sql: Sql,
  event: {
    jobId: string;
    runId: string;
    kind: 'exec' | 'files_read' | 'files_written';
    actor: Record<string, unknown>;
    detail: Record<string, unknown>;
  },
): Promise<void> {
  await sql.query(
    {
      name: 'record_job_event',
      text: `insert into job_events (created_at, job_id, run_id, kind, actor, detail)
        values (flotilla_now(), $1, $2, $3, $4, $5)`,
    },
    [event.jobId, event.runId, event.kind, JSON.stringify(event.actor), JSON.stringify(event.detail)],
  );
}
