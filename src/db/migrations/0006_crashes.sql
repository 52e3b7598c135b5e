-- Clocks that jump: deadlines move with them, and no expiry from another time holds the leadership.

-- How long the holder's lease is; an expiry further away than that was written by another clock.
alter table leaderships add column lease_ms bigint;

-- Steps of this database's clock that a leader noticed, and moved every deadline by.
create table clock_steps (
  id bigint generated always as identity primary key,
  noticed_at timestamptz not null,
  step_ms double precision not null
);

-- The clock of the machine, which a test that plays with time leaves alone.
create function flotilla_machine_clock() returns timestamptz
  language sql volatile parallel safe as 'select clock_timestamp()';

-- Moves by `step_ms` what is measured against the clock and still to come, so that a jump of the clock is no time that
-- passed. False when another leads by now, or moved it already.
create function flotilla_move_deadlines(leader_name text, leader uuid, leader_epoch bigint, step_ms double precision)
  returns boolean language plpgsql as $$
declare
  step interval := step_ms * interval '1 millisecond';
  at timestamptz := flotilla_now();
begin
  -- The row is locked, so that two leaders, an old one and its heir, do not both move it.
  update leaderships l set expires_at = l.expires_at + step
    where l.name = leader_name and l.holder = leader and l.epoch = leader_epoch;
  if not found then
    return false;
  end if;
  if exists (select from clock_steps s where abs(s.step_ms - flotilla_move_deadlines.step_ms) < 5000
      and s.noticed_at between at - interval '30 seconds' and at + interval '30 seconds') then
    return false;
  end if;
  insert into clock_steps (noticed_at, step_ms) values (at, step_ms);
  perform from jobs j where j.status in ('PENDING', 'ASSIGNED', 'RUNNING') order by j.id for update;
  perform from job_runs r where r.released_at is null and r.ended_at is null order by r.id for update;
  update jobs j set timeout_assign_at = j.timeout_assign_at + step, started_at = j.started_at + step,
      changed_in = pg_current_xact_id()
    where j.status in ('PENDING', 'ASSIGNED', 'RUNNING') and (j.timeout_assign_at is not null or j.started_at is not null);
  update job_runs r set start_deadline_at = r.start_deadline_at + step, run_deadline_at = r.run_deadline_at + step,
      started_at = r.started_at + step, teardown_requested_at = r.teardown_requested_at + step,
      teardown_deadline_at = r.teardown_deadline_at + step
    where r.released_at is null and r.ended_at is null;
  update nodes n set drain_deadline_at = n.drain_deadline_at + step, drain_requested_at = n.drain_requested_at + step
    where n.drain_deadline_at is not null;
  return true;
end
$$;
