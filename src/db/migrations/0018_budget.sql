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
