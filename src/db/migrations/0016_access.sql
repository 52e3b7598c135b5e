-- Users and their roles, keys that belong to a user or were rotated, and the log of every change of rights.

create table users (
  id uuid primary key,
  account_id uuid not null references accounts (id),
  email text not null,
  role text not null check (role in ('admin', 'consumer', 'operator')),
  removed_at timestamptz,
  created_at timestamptz not null default flotilla_now()
);
-- Of one account: whether another account knows the address is nobody's business.
create unique index users_by_email on users (lower(email), account_id) where removed_at is null;
create index users_by_account on users (account_id, created_at, id);

alter table api_keys
  drop constraint api_keys_preset_check,
  add constraint api_keys_preset_check check (preset in ('admin', 'consumer', 'operator', 'node')),
  -- null: the key is the account's own.
  add column user_id uuid references users (id),
  -- null: the cluster's.
  add column rate_limit_per_second double precision check (rate_limit_per_second > 0),
  -- The secret before the last rotation, valid for a while beside the new one.
  add column previous_secret_sealed bytea,
  add column previous_secret_until timestamptz;
create index api_keys_by_user on api_keys (user_id) where user_id is not null;
-- Those who had all there was to have in their account.
update api_keys set permissions = permissions || '{users:read,users:write,audit:read}'
  where preset = 'admin' and permissions @> '{jobs:create,keys:read,keys:write,nodes:write}';

-- Each entry holds the hash of the one before it and of its own content; 64 hex digits, zeros before the first.
create table audit_log (
  sequence bigint primary key,
  id uuid not null unique,
  created_at timestamptz not null,
  -- Whose rights changed; null: the cluster's settings.
  account_id uuid,
  action text not null,
  actor jsonb not null,
  subject_kind text not null,
  subject_id uuid,
  detail jsonb not null,
  previous_hash text not null,
  hash text not null
);
create index audit_log_by_time on audit_log (created_at, id);
create index audit_log_by_account on audit_log (account_id, created_at, id);
create trigger audit_log_append_only before update or delete or truncate on audit_log
  for each statement execute function flotilla_refuse_change();

-- The last entry, so that one that is missing at the end is seen too; its row lock is what orders the chain.
create table audit_head (
  is_only boolean primary key default true check (is_only),
  sequence bigint not null,
  hash text not null
);
insert into audit_head (sequence, hash) values (0, repeat('0', 64));
