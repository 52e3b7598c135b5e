-- Stop Job for one job or many: the one place that decides it.

drop function flotilla_stop_job(uuid, uuid, uuid, text, text, jsonb, integer, integer, integer, jsonb);

-- A job as its lock showed it; `is_due`: it is to be stopped.
create type flotilla_stop_row as (job_id uuid, title text, status text, run_id uuid, is_due boolean);

-- Stops those of the account's jobs that are live and in one of `statuses` (null: in any). Locks are taken in the order
-- of life events: jobs by id, then their runs, then ports by number; so what follows the first lock sees the runs that
-- a placement just made. Answers a row for each job of the account: stopped or unchanged, and the run whose container
-- must go with its node; or the one row nonce_reused.
create function flotilla_stop_jobs(
  job_ids uuid[], account uuid, statuses text[], key uuid, nonce text, reason text, detail jsonb, grace_ms integer,
  default_grace_ms integer, margin_ms integer, actor jsonb
) returns table (outcome text, job uuid, job_title text, was text, run uuid, node uuid) language plpgsql
-- A plan made while the tables are small would read them whole once they are large.
set enable_seqscan = off as $$
declare
  at timestamptz := flotilla_now();
  locked flotilla_stop_row[];
begin
  if nonce is not null and not flotilla_claim_nonce(key, nonce) then
    outcome := 'nonce_reused';
    return next;
    return;
  end if;
  locked := array(select row(j.id, j.title, j.status, j.last_run_id, j.status in ('PENDING', 'ASSIGNED', 'RUNNING')
      and (statuses is null or j.status = any (statuses)))::flotilla_stop_row
    from jobs j where j.id = any (job_ids) and j.account_id = account order by j.id for update);
  return query with jobs_stopped as (
    update jobs j set status = 'CANCELLED', status_reason = reason, status_detail = detail, timeout_assign_at = null,
      completed_at = at, updated_at = at, changed_in = pg_current_xact_id()
    where j.id = any (array(select l.job_id from unnest(locked) l where l.is_due))
  ), runs_stopped as (
    -- Its token is worth nothing from this commit on, and nobody gets in any more; the numbers of its ports return
    -- after the teardown.
    update job_runs r set status = 'CANCELLING', desired = 'stop', status_reason = reason, status_detail = detail,
      stop_grace_ms = coalesce(grace_ms, r.stop_grace_ms, default_grace_ms), updated_at = at,
      teardown_state = 'requested', teardown_requested_at = at,
      teardown_deadline_at = at + (coalesce(grace_ms, r.stop_grace_ms, default_grace_ms) + margin_ms) * interval '1 millisecond',
      token_sealed = null, ports = '[]'
    where r.id = any (array(select l.run_id from unnest(locked) l where l.is_due))
      and r.status in ('ASSIGNED', 'PREPARING', 'RUNNING')
    returning r.id, r.job_id, r.node_id
  ), port_rows as (
    select g.port from gateway_ports g where g.run_id = any (array(select r.id from runs_stopped r)) and g.is_open
    order by g.port for update
  ), ports_closed as (
    update gateway_ports g set is_open = false where g.port = any (array(select p.port from port_rows p))
  ), events as (
    insert into job_events (created_at, job_id, run_id, kind, from_status, to_status, actor, detail)
    select at, l.job_id, r.id, 'stop_requested', l.status, 'CANCELLED', actor, detail
    from unnest(locked) l left join runs_stopped r on r.job_id = l.job_id where l.is_due
  )
  select case when l.is_due then 'stopped' else 'unchanged' end, l.job_id, l.title, l.status, r.id, r.node_id
  from unnest(locked) l left join runs_stopped r on r.job_id = l.job_id;
end
$$;
