-- The ledger: double entry, append-only, in micro-dollars. What a run costs follows from its own row, so it can be computed again.

-- A change of an account's credits; balance_micros is what it left.
create table ledger_transactions (
  id uuid primary key,
  account_id uuid not null references accounts (id),
  kind text not null check (kind in ('credit', 'usage')),
  amount_micros bigint not null,
  balance_micros bigint not null,
  run_id uuid,
  job_id uuid,
  -- Of usage: the milliseconds it pays for, after those that earlier transactions of the run paid for.
  billed_ms bigint,
  description text not null,
  actor jsonb not null,
  created_at timestamptz not null default flotilla_now()
);
create index ledger_transactions_by_account on ledger_transactions (account_id, created_at, id);
create index ledger_transactions_by_run on ledger_transactions (run_id) where run_id is not null;

-- Two entries or more a transaction, whose sum is zero.
create table ledger_entries (
  transaction_id uuid not null references ledger_transactions (id),
  book text not null check (book in ('credits', 'granted', 'earned')),
  amount_micros bigint not null,
  primary key (transaction_id, book)
);

create table account_balances (
  account_id uuid primary key references accounts (id),
  balance_micros bigint not null default 0
);

create function flotilla_refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name;
end
$$;
create trigger ledger_transactions_append_only before update or delete on ledger_transactions
  for each statement execute function flotilla_refuse_change();
create trigger ledger_entries_append_only before update or delete on ledger_entries
  for each statement execute function flotilla_refuse_change();

create function flotilla_check_entries() returns trigger language plpgsql as $$
begin
  if (select sum(e.amount_micros) from ledger_entries e where e.transaction_id = new.transaction_id) <> 0 then
    raise exception 'the entries of transaction % do not balance', new.transaction_id;
  end if;
  return null;
end
$$;
create constraint trigger ledger_entries_balance after insert on ledger_entries
  deferrable initially deferred for each row execute function flotilla_check_entries();

alter table job_runs
  add column billed_ms bigint not null default 0,
  add column billed_micros bigint not null default 0,
  add column billed_at timestamptz,
  add column is_billed boolean not null default false;
-- Free runs cost nothing, here too.
create index job_runs_unbilled on job_runs (started_at)
  where hourly_rate_micros > 0 and started_at is not null and not is_billed;

-- Whole milliseconds that are billed of a run: from the start of its container to its observed end, and after a stop no
-- longer than the consumer's own grace.
create function flotilla_billed_ms(run job_runs, at timestamptz) returns bigint language sql immutable as $$
  select greatest(0, floor(extract(epoch from least(
    coalesce(run.ended_at, at),
    coalesce(run.teardown_requested_at + coalesce(run.stop_grace_ms, 0) * interval '1 millisecond', 'infinity')
  ) - run.started_at) * 1000))::bigint
$$;

-- To the nearest micro-dollar.
create function flotilla_cost_micros(rate bigint, ms bigint) returns bigint language sql immutable as $$
  select div(rate::numeric * ms + 1800000, 3600000)::bigint
$$;

-- Bills what ended, and what runs for `every_ms` since it was billed last. One round; answers how many runs it looked at.
create function flotilla_bill_runs(max_runs integer, every_ms bigint, actor jsonb) returns integer language plpgsql as $$
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
    from billed b join account_balances a on a.account_id = b.account_id where b.new_micros <> 0
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
