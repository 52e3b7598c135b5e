-- Events by account, in an order that followers can resume without loss, and webhooks with their deliveries.

-- Ids are given at insert and commit in any order, so "what is new" is told by transaction: a follower keeps the snapshot
-- it has seen, and reads what that one did not show. See docs/adr/0013-events-by-snapshot.md.
alter table job_events
  add column account_id uuid,
  add column written_in xid8 not null default pg_current_xact_id(),
  -- What happens to an account beside its jobs.
  alter column job_id drop not null;
update job_events e set account_id = j.account_id from jobs j where j.id = e.job_id;
create index job_events_by_account on job_events (account_id, written_in, id);

create function flotilla_set_event_account() returns trigger language plpgsql as $$
begin
  select j.account_id into new.account_id from jobs j where j.id = new.job_id;
  return new;
end
$$;
create trigger job_events_account before insert on job_events for each row when (new.account_id is null)
  execute function flotilla_set_event_account();

create table webhooks (
  id uuid primary key,
  account_id uuid not null references accounts (id),
  name text not null,
  url text not null,
  -- Empty: every kind.
  kinds text[] not null,
  secret_sealed bytea not null,
  is_enabled boolean not null default true,
  disabled_reason text,
  -- The first failed attempt since the last one that succeeded.
  failing_since timestamptz,
  -- Up to where events became deliveries: src/domain/event-position.ts.
  position text not null,
  position_at timestamptz not null default flotilla_now(),
  created_at timestamptz not null default flotilla_now(),
  updated_at timestamptz not null default flotilla_now()
);
create index webhooks_by_account on webhooks (account_id, created_at);

-- The outbox: one row for each event and webhook.
create table webhook_deliveries (
  id uuid primary key default gen_random_uuid(),
  webhook_id uuid not null references webhooks (id) on delete cascade,
  -- null: a test.
  event_id bigint,
  kind text not null,
  body text not null,
  status text not null default 'pending' check (status in ('pending', 'delivered', 'failed')),
  attempt_count integer not null default 0,
  -- Also the claim of an attempt under way: it is moved ahead by more than an attempt may last.
  next_attempt_at timestamptz not null default flotilla_now(),
  first_attempt_at timestamptz,
  last_attempt_at timestamptz,
  response_status integer,
  response_excerpt text,
  error text,
  created_at timestamptz not null default flotilla_now()
);
create index webhook_deliveries_due on webhook_deliveries (webhook_id, next_attempt_at) where status = 'pending';
create index webhook_deliveries_by_webhook on webhook_deliveries (webhook_id, created_at, id);
create index webhook_deliveries_by_age on webhook_deliveries (created_at);
