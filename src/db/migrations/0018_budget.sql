-- Budgets, prepaid accounts, and what nodes worked in a week.

-- All time that is billed is posted, also where it rounds to nothing. Bills what ended, and what runs for `every_ms` since it was billed last. One round; answers how many runs it looked at.
create or replace function flotilla_bill_runs(max_runs integer, every_ms bigint, actor jsonb) returns integer language plpgsql as $$
declare
  at timestamptz := flotilla_now();
  due job_runs[];
begin
  due := array(select r from job_runs r
    where r.hourly_rate_micros > 0 and r.started_at is not null and not r.is_billed
      and (r.ended_at is not null or coalesce(r.billed_at, r.started_at) <= at - every_ms * interval '1 millisecond')
    order by r.started_at limit max_runs for update skip locked);
  if cardinality(due) = 0 then
    return 0;
  end if;
  insert into account_balances (account_id) select distinct d.account_id from unnest(due) d on conflict do nothing;
  perform from account_balances b where b.account_id in (select d.account_id from unnest(due) d)
    order by b.account_id for update;
  with billed as materialized (
    select d.id as run_id, d.job_id, d.account_id, d.ended_at is not null as is_last, m.ms,
      m.ms - d.billed_ms as new_ms,
      flotilla_cost_micros(d.hourly_rate_micros, m.ms) - d.billed_micros as new_micros, gen_random_uuid() as id
    from unnest(due) d cross join lateral (select flotilla_billed_ms(d, at) as ms) m
  ), marked as (
    update job_runs r set billed_ms = b.ms, billed_micros = r.billed_micros + b.new_micros, billed_at = at,
      is_billed = b.is_last
    from billed b where r.id = b.run_id
  ), posted as (
    insert into ledger_transactions (id, account_id, kind, amount_micros, balance_micros, run_id, job_id, billed_ms,
        description, actor, created_at)
    select b.id, b.account_id, 'usage', -b.new_micros,
      a.balance_micros - sum(b.new_micros) over (partition by b.account_id order by b.run_id),
      b.run_id, b.job_id, b.new_ms, 'usage of a job run', actor, at
    from billed b join account_balances a on a.account_id = b.account_id where b.new_ms <> 0
    returning id, amount_micros
  ), entries as (
    insert into ledger_entries (transaction_id, book, amount_micros)
    select p.id, e.book, e.sign * p.amount_micros from posted p cross join (values ('credits', 1), ('earned', -1)) e(book, sign)
  )
  update account_balances a set balance_micros = a.balance_micros - s.micros
  from (select b.account_id, sum(b.new_micros) as micros from billed b group by b.account_id) s
  where a.account_id = s.account_id;
  return cardinality(due);
end
$$;

-- Micro-dollars that all runs of a job may cost together; how long it goes on without a renewal, and without use.
alter table jobs
  add column max_cost_micros bigint check (max_cost_micros > 0),
  add column renew_within_ms bigint check (renew_within_ms > 0),
  add column idle_timeout_ms bigint check (idle_timeout_ms > 0),
  add column renewed_at timestamptz;
create index jobs_with_budget on jobs (id)
  where status in ('PENDING', 'ASSIGNED', 'RUNNING')
    and (max_cost_micros is not null or renew_within_ms is not null or idle_timeout_ms is not null);

-- What the leader knows of a job with a budget beside its own row.
create table budget_states (
  job_id uuid primary key,
  -- Whose activity it is, when that was last seen, and up to which sample it was looked for.
  run_id uuid,
  active_at timestamptz,
  seen_at timestamptz,
  -- Limits that the consumer was warned of.
  warned text[] not null default '{}'
) with (fillfactor = 50);

-- Moves by `step_ms` what is measured against the clock and still to come, so that a jump of the clock is no time that
-- passed. False when another leads by now, or moved it already.
create or replace function flotilla_move_deadlines(leader_name text, leader uuid, leader_epoch bigint, step_ms double precision)
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
  update jobs j set renewed_at = j.renewed_at + step
    where j.status in ('PENDING', 'ASSIGNED', 'RUNNING') and j.renewed_at is not null;
  update node_spans s set began_at = s.began_at + step where s.ended_at is null;
  update budget_states s set active_at = s.active_at + step, seen_at = s.seen_at + step;
  update nodes n set drain_deadline_at = n.drain_deadline_at + step, drain_requested_at = n.drain_requested_at + step
    where n.drain_deadline_at is not null;
  return true;
end
$$;

-- null: as the setting `billing` says for all accounts.
alter table accounts
  add column is_prepaid boolean,
  -- The balance ran low, and the account was told.
  add column low_credit_warned_at timestamptz;
create index accounts_prepaid on accounts (id) where is_prepaid;
create index job_runs_unbilled_by_account on job_runs (account_id)
  where hourly_rate_micros > 0 and started_at is not null and not is_billed;

-- Whether an account pays in advance.
create function flotilla_is_prepaid(account accounts) returns boolean language sql stable as $$
  select coalesce(account.is_prepaid, (select (s.value ->> 'isPrepaid')::boolean from settings s where s.name = 'billing'), false)
$$;

-- What an account has left: its balance less what its runs cost since they were billed. Micro-dollars.
create function flotilla_available_micros(account uuid) returns bigint language sql stable as $$
  select coalesce((select b.balance_micros from account_balances b where b.account_id = account), 0) - coalesce((
    select sum(flotilla_cost_micros(r.hourly_rate_micros, flotilla_billed_ms(r, flotilla_now())) - r.billed_micros)
    from job_runs r where r.account_id = account and r.hourly_rate_micros > 0 and r.started_at is not null
      and not r.is_billed), 0)::bigint
$$;

-- When a node could take work: ready, not cordoned, not waiting for the admin's word.
create table node_spans (
  node_id uuid not null references nodes (id),
  began_at timestamptz not null,
  ended_at timestamptz,
  primary key (node_id, began_at)
);

create function flotilla_note_span() returns trigger language plpgsql as $$
declare
  is_open boolean := new.status = 'ready' and not new.is_cordoned and not new.awaits_word;
begin
  if is_open then
    insert into node_spans (node_id, began_at) select new.id, flotilla_now()
    where not exists (select from node_spans s where s.node_id = new.id and s.ended_at is null)
    on conflict (node_id, began_at) do update set ended_at = null;
  else
    update node_spans s set ended_at = greatest(s.began_at, flotilla_now())
    where s.node_id = new.id and s.ended_at is null;
  end if;
  return null;
end
$$;
create trigger nodes_span after insert or update of status, is_cordoned, awaits_word on nodes
  for each row execute function flotilla_note_span();
insert into node_spans (node_id, began_at) select n.id, flotilla_now() from nodes n
  where n.status = 'ready' and not n.is_cordoned and not n.awaits_word;

-- A node's week from Sunday 00:00 UTC; a row that is final never changes again.
create table node_epochs (
  id uuid primary key,
  node_id uuid not null references nodes (id),
  began_at timestamptz not null,
  available_ms bigint not null default 0,
  prepared_ms bigint not null default 0,
  worked_ms bigint not null default 0,
  earned_micros bigint not null default 0,
  computed_at timestamptz not null default flotilla_now(),
  finalized_at timestamptz,
  unique (node_id, began_at)
);
create index node_epochs_open on node_epochs (computed_at) where finalized_at is null;
create index job_runs_by_node_end on job_runs (node_id, ended_at) where ended_at is not null;

create function flotilla_refuse_final() returns trigger language plpgsql as $$
begin
  raise exception 'epoch % is final', old.id;
end
$$;
create trigger node_epochs_final before update or delete on node_epochs
  for each row when (old.finalized_at is not null) execute function flotilla_refuse_final();

create function flotilla_range_ms(ranges tstzmultirange) returns bigint language sql immutable as $$
  select coalesce(sum(floor(extract(epoch from upper(r) - lower(r)) * 1000)), 0)::bigint from unnest(ranges) r
$$;

-- Hours of a node within [from_at, to_at), from its spans and runs alone: times that overlap count once.
create function flotilla_node_hours(
  node uuid, from_at timestamptz, to_at timestamptz,
  out available_ms bigint, out prepared_ms bigint, out worked_ms bigint
) language sql stable as $$
  with week as (
    select tstzmultirange(tstzrange(from_at, greatest(from_at, least(to_at, flotilla_now())))) as span
  ), runs as (
    select r.created_at, r.started_at, r.ended_at from job_runs r
    where r.node_id = node and r.ended_at >= from_at and r.created_at < to_at
    union all
    select r.created_at, r.started_at, null from job_runs r
    where r.node_id = node and r.released_at is null and r.ended_at is null and r.created_at < to_at
  )
  select
    flotilla_range_ms((select range_agg(tstzrange(s.began_at, s.ended_at)) from node_spans s
      where s.node_id = node and s.began_at < to_at and (s.ended_at is null or s.ended_at > from_at)) * w.span),
    flotilla_range_ms((select range_agg(tstzrange(least(r.created_at, r.started_at, r.ended_at), coalesce(r.started_at, r.ended_at)))
      from runs r) * w.span),
    flotilla_range_ms((select range_agg(tstzrange(r.started_at, case when r.ended_at is not null then greatest(r.started_at, r.ended_at) end))
      from runs r where r.started_at is not null) * w.span)
  from week w
$$;
