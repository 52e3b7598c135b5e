-- The core: cluster, accounts, keys, nodes, jobs, runs, events, logs.
-- Times are stamped by flotilla_now(), the one clock of leases, deadlines and leadership; tests replace its body.

create function flotilla_now() returns timestamptz
  language sql stable parallel safe as 'select statement_timestamp()';

create table cluster (
  is_only boolean primary key default true check (is_only),
  id uuid not null,
  generation integer not null default 1,
  -- Sealed with the master key: a wrong key is found at start, not at the first secret.
  canary bytea not null,
  canary_key_id text not null,
  created_at timestamptz not null default flotilla_now()
);

create table leaderships (
  name text primary key,
  holder uuid not null,
  epoch bigint not null,
  expires_at timestamptz not null
);

create table accounts (
  id uuid primary key,
  name text not null,
  created_at timestamptz not null default flotilla_now()
);

create table nodes (
  id uuid primary key,
  account_id uuid not null references accounts (id),
  name text not null,
  region_code text,
  labels jsonb not null default '{}',
  status text not null default 'offline' check (status in ('offline', 'ready', 'unreachable', 'lost')),
  is_cordoned boolean not null default false,
  status_reason text,
  -- Moves when what the node offers changes; a plan made on an older version is skipped.
  version bigint not null default 1,
  -- The transaction that wrote the row last: the scheduler's delta feed.
  changed_in xid8 not null default pg_current_xact_id(),
  inventory jsonb,
  isolation text not null default 'none' check (isolation in ('enforced', 'none')),
  agent_version text,
  session_id uuid,
  cpu_count double precision not null default 0,
  ram_bytes bigint not null default 0,
  storage_bytes bigint not null default 0,
  gpus jsonb not null default '[]',
  cpu_allocated double precision not null default 0,
  ram_allocated bigint not null default 0,
  storage_allocated bigint not null default 0,
  run_count integer not null default 0,
  created_at timestamptz not null default flotilla_now(),
  updated_at timestamptz not null default flotilla_now()
);
create unique index nodes_by_name on nodes (account_id, name);
create index nodes_by_change on nodes (changed_in);
create index nodes_silent on nodes (id) where status in ('unreachable', 'lost');

-- Apart from nodes: every heartbeat rewrites the row, and nothing else is in it.
create table node_leases (
  node_id uuid primary key references nodes (id) on delete cascade,
  last_seen_at timestamptz not null,
  expires_at timestamptz not null
) with (fillfactor = 50);
create index node_leases_by_expiry on node_leases (expires_at);

create table api_keys (
  id uuid primary key,
  account_id uuid not null references accounts (id),
  name text not null,
  preset text not null check (preset in ('admin', 'consumer', 'node')),
  permissions text[] not null,
  public_key text not null unique,
  secret_sealed bytea not null,
  node_id uuid references nodes (id) on delete cascade,
  allowed_ips text[] not null default '{}',
  expires_at timestamptz,
  revoked_at timestamptz,
  created_at timestamptz not null default flotilla_now()
);
create index api_keys_by_account on api_keys (account_id, created_at desc);

-- A ring of slots by time; the oldest is truncated whole before its turn comes again.
create table nonces (
  slot smallint not null,
  key_id uuid not null,
  nonce text not null,
  primary key (key_id, nonce, slot)
) partition by list (slot);
create table nonces_0 partition of nonces for values in (0);
create table nonces_1 partition of nonces for values in (1);
create table nonces_2 partition of nonces for values in (2);
create table nonces_3 partition of nonces for values in (3);

create table jobs (
  id uuid primary key,
  account_id uuid not null,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  status text not null check (status in ('PENDING', 'ASSIGNED', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED')),
  task text not null check (task in ('BATCH', 'PERSISTENT')),
  title text not null,
  description text,
  cpu_count double precision,
  gpu_count integer,
  gpu_name text,
  gpu_registry_uuid uuid,
  min_ram_gb double precision not null,
  min_storage_gb double precision not null,
  min_vram_gb double precision not null,
  allowed_region_codes text[] not null,
  -- The container without its secrets; they are in `sealed`.
  container jsonb not null,
  sealed bytea,
  max_timeout_assign_ms bigint not null,
  max_timeout_start_ms bigint not null,
  start_timeout_waits_for_pull boolean not null default false,
  max_timeout_run_ms bigint,
  max_retry_count integer not null,
  max_node_count integer not null,
  image_size_bytes bigint,
  source_recipe_uuid uuid,
  labels jsonb not null,
  priority integer not null,
  timeout_assign_at timestamptz,
  started_at timestamptz,
  completed_at timestamptz,
  status_reason text,
  status_detail jsonb,
  failed_run_count integer not null default 0,
  lost_run_count integer not null default 0,
  last_attempt integer not null default 0,
  last_run_id uuid,
  avoid_node_ids uuid[] not null default '{}',
  idempotency_key text,
  idempotency_hash bytea,
  changed_in xid8 not null default pg_current_xact_id()
) with (fillfactor = 80);
create index jobs_by_account on jobs (account_id, created_at, id);
create index jobs_live_by_account on jobs (account_id, created_at, id) where status in ('PENDING', 'ASSIGNED', 'RUNNING');
create index jobs_changed on jobs (changed_in) where status in ('PENDING', 'CANCELLED');
create unique index jobs_by_idempotency_key on jobs (account_id, idempotency_key) where idempotency_key is not null;
create index jobs_by_label on jobs using gin (labels jsonb_path_ops) where labels <> '{}';

create table job_runs (
  id uuid primary key,
  job_id uuid not null references jobs (id),
  account_id uuid not null,
  node_id uuid not null,
  slot smallint not null default 0,
  attempt integer not null,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  status text not null check (status in
    ('ASSIGNED', 'PREPARING', 'RUNNING', 'FAILING', 'CANCELLING', 'COMPLETED', 'FAILED', 'CANCELLED')),
  -- Written by the control plane only; what the agent saw is in status, times and exit.
  desired text not null default 'run' check (desired in ('run', 'stop')),
  cpu_count double precision not null,
  ram_bytes bigint not null,
  storage_bytes bigint not null,
  gpu_uuids text[] not null,
  start_deadline_at timestamptz not null,
  run_deadline_at timestamptz,
  started_at timestamptz,
  ended_at timestamptz,
  -- Resources are back with the node.
  released_at timestamptz,
  exit_code integer,
  exit_signal text,
  is_oom_killed boolean not null default false,
  status_reason text,
  status_detail jsonb,
  teardown_state text check (teardown_state in ('requested', 'signalled', 'killed', 'verified', 'unverified')),
  teardown_requested_at timestamptz,
  teardown_deadline_at timestamptz,
  stop_grace_ms integer,
  progress jsonb,
  image_digest text,
  hourly_rate_usd double precision not null default 0,
  -- The container access token, sealed; null once it is revoked.
  token_sealed bytea,
  -- [{container_port, port, is_ready, host_key}] while the run is RUNNING, null before, [] after.
  ports jsonb
) with (fillfactor = 80);
create unique index job_runs_by_attempt on job_runs (job_id, attempt);
create unique index job_runs_live on job_runs (job_id, slot)
  where status not in ('COMPLETED', 'FAILED', 'CANCELLED');
create index job_runs_by_account on job_runs (account_id, created_at, id);
create index job_runs_held_by_node on job_runs (node_id) where released_at is null;
create index job_runs_start_deadline on job_runs (start_deadline_at) where status in ('ASSIGNED', 'PREPARING');
create index job_runs_run_deadline on job_runs (run_deadline_at) where status = 'RUNNING' and run_deadline_at is not null;
create index job_runs_teardown on job_runs (account_id, teardown_state) where teardown_state in ('requested', 'signalled', 'killed', 'unverified');

-- One live run per node and GPU, whoever leads.
create table gpu_allocations (
  node_id uuid not null,
  gpu_uuid text not null,
  run_id uuid not null,
  primary key (node_id, gpu_uuid)
);
create index gpu_allocations_by_run on gpu_allocations (run_id);

create table job_events (
  id bigint generated always as identity,
  created_at timestamptz not null,
  job_id uuid not null,
  run_id uuid,
  kind text not null,
  from_status text,
  to_status text,
  actor jsonb not null,
  detail jsonb
) partition by range (created_at);
create index job_events_by_job on job_events (job_id, id);
create table job_events_default partition of job_events default;

-- One-time tickets for WebSockets, since browsers cannot sign an upgrade; only the hash is kept.
create table tickets (
  hash bytea primary key,
  account_id uuid not null,
  run_id uuid not null,
  request jsonb not null,
  actor jsonb not null,
  expires_at timestamptz not null
);
create index tickets_by_expiry on tickets (expires_at);

-- The public ports of the gateway. A port is open from RUNNING until the run's end or stop, and held until its teardown
-- is proved; then it rests before another account gets it.
create table gateway_ports (
  port integer primary key check (port between 1 and 65535),
  run_id uuid,
  account_id uuid,
  node_id uuid,
  container_port integer,
  allowed_ips text[] not null default '{}',
  is_open boolean not null default false,
  refused_count bigint not null default 0,
  released_at timestamptz not null default '-infinity'
);
create index gateway_ports_free on gateway_ports (released_at, port) where run_id is null;
create index gateway_ports_by_run on gateway_ports (run_id) where run_id is not null;

-- Takes public ports for a run, the longest unused first, so that numbers go round the whole range.
-- A port that rests goes only to the account that had it. Fewer rows than asked for: the range is used up.
create function flotilla_open_ports(
  run uuid, account uuid, node uuid, wanted integer[], ips text[], rest_ms integer
) returns jsonb language plpgsql as $$
declare
  taken integer[];
begin
  select array_agg(f.port) into taken from (
    select g.port from gateway_ports g
    where g.run_id is null
      and (g.released_at <= flotilla_now() - rest_ms * interval '1 millisecond' or g.account_id = account)
    order by g.released_at, g.port limit cardinality(wanted) for update skip locked
  ) f;
  if coalesce(cardinality(taken), 0) < cardinality(wanted) then
    return null;
  end if;
  update gateway_ports g set run_id = run, account_id = account, node_id = node, container_port = w.container_port,
    allowed_ips = ips, is_open = true, refused_count = 0
  from unnest(taken, wanted) as w(port, container_port) where g.port = w.port;
  return coalesce((select jsonb_agg(jsonb_build_object('container_port', w.container_port, 'port', w.port,
      'is_ready', false, 'host_key', null) order by w.container_port = 22, w.ordinality)
    from unnest(taken, wanted) with ordinality as w(port, container_port, ordinality)), '[]');
end
$$;

-- Why jobs of a requirement shape wait; rewritten on change, at most once a second.
create table pending_reasons (
  shape text primary key,
  reason jsonb not null,
  updated_at timestamptz not null
);

create table run_logs (
  run_id uuid not null,
  -- Byte offset in the run's merged log, in the order chunks were stored.
  position bigint not null,
  length integer not null,
  stream text not null check (stream in ('stdout', 'stderr')),
  is_compressed boolean not null,
  bytes bytea not null,
  created_at timestamptz not null
) partition by range (created_at);
create index run_logs_by_run on run_logs (run_id, position);
create table run_logs_default partition of run_logs default;

create table run_log_states (
  run_id uuid primary key,
  total_bytes bigint not null default 0,
  -- Bytes [gap_from, gap_to) were dropped from the middle because of the cap.
  gap_from bigint,
  gap_to bigint,
  stdout_offset bigint not null default 0,
  stdout_position text,
  stderr_offset bigint not null default 0,
  stderr_position text
) with (fillfactor = 50);

-- Makes the partitions of the coming days; the default ones only catch what a stopped clockwork missed.
create function flotilla_ensure_partitions(at timestamptz) returns void
  language plpgsql set timezone = 'UTC' set lock_timeout = '2s' as $$
declare
  day date;
  parent text;
  child text;
begin
  foreach parent in array array['job_events', 'run_logs'] loop
    for day in select d::date from generate_series(at::date + 1, at::date + 14, interval '1 day') d loop
      child := parent || '_' || to_char(day, 'YYYYMMDD');
      if to_regclass(child) is null then
        begin
          execute format('create table %I partition of %I for values from (%L) to (%L)', child, parent, day, day + 1);
        exception when check_violation then
          null; -- the default partition already holds rows of that day; they are kept there
        end;
      end if;
    end loop;
  end loop;
end
$$;

-- Drops what is older than its retention; rows the default partition caught are deleted.
create function flotilla_drop_old_partitions(parent text, before timestamptz) returns integer
  language plpgsql set timezone = 'UTC' set lock_timeout = '2s' as $$
declare
  child text;
  dropped integer := 0;
begin
  for child in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = parent::regclass and c.relname ~ '_[0-9]{8}$'
      and to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= (before at time zone 'UTC')::date
  loop
    execute format('drop table %I', child);
    dropped := dropped + 1;
  end loop;
  execute format('delete from %I where created_at < %L', parent || '_default', before);
  return dropped;
end
$$;

create function flotilla_nonce_slot() returns smallint
  language sql stable as 'select ((extract(epoch from flotilla_now())::bigint / 300) % 4)::smallint';

-- True once per key and nonce within ten minutes and more.
create function flotilla_claim_nonce(key uuid, value text) returns boolean
  language plpgsql as $$
begin
  if exists (select from nonces where key_id = key and nonce = value) then
    return false;
  end if;
  insert into nonces (slot, key_id, nonce) values (flotilla_nonce_slot(), key, value) on conflict do nothing;
  return found;
end
$$;

-- Stop Job, whole in one call: the job row is locked first, so what follows sees the run that a placement just made.
-- Answers one row: nonce_reused, not_found, stopped or unchanged, and the node to tell.
create function flotilla_stop_job(
  job uuid, account uuid, key uuid, nonce text, reason text, detail jsonb, grace_ms integer, default_grace_ms integer,
  margin_ms integer, actor jsonb,
  out outcome text, out run_id uuid, out node_id uuid
) language plpgsql as $$
declare
  found_job jobs;
  at timestamptz := flotilla_now();
  grace integer;
  run_status text;
begin
  if nonce is not null and not flotilla_claim_nonce(key, nonce) then
    outcome := 'nonce_reused';
    return;
  end if;
  select * into found_job from jobs j where j.id = job and j.account_id = account for update;
  if not found then
    outcome := 'not_found';
    return;
  end if;
  if found_job.status not in ('PENDING', 'ASSIGNED', 'RUNNING') then
    outcome := 'unchanged';
    return;
  end if;
  outcome := 'stopped';
  update jobs j set status = 'CANCELLED', status_reason = reason, status_detail = detail, timeout_assign_at = null,
    completed_at = at, updated_at = at, changed_in = pg_current_xact_id()
  where j.id = job;
  grace := coalesce(grace_ms, (found_job.container ->> 'stop_grace_ms')::integer, default_grace_ms);
  select r.status into run_status from job_runs r where r.id = found_job.last_run_id for update;
  update job_runs r set status = 'CANCELLING', desired = 'stop', status_reason = reason, status_detail = detail,
    stop_grace_ms = grace, updated_at = at, teardown_state = 'requested', teardown_requested_at = at,
    teardown_deadline_at = at + (grace + margin_ms) * interval '1 millisecond'
  where r.id = found_job.last_run_id and r.status in ('ASSIGNED', 'PREPARING', 'RUNNING')
  returning r.id, r.node_id into run_id, node_id;
  -- Nobody gets in any more from this commit on; the numbers return after the teardown.
  update gateway_ports g set is_open = false where g.run_id = found_job.last_run_id and g.is_open;
  update job_runs r set token_sealed = null, ports = '[]'
  where r.id = found_job.last_run_id and (r.token_sealed is not null or r.ports is distinct from '[]');
  insert into job_events (created_at, job_id, run_id, kind, from_status, to_status, actor, detail)
  values (at, job, run_id, 'stop_requested', found_job.status, 'CANCELLED', actor, detail);
end
$$;

-- Writes a batch of placements under the node rows' locks; answers the jobs that were placed.
-- A row is skipped when the leader changed, the job left PENDING, the node moved on, or the capacity is gone.
create type flotilla_plan_row as (
  ordinal integer, job_id uuid, run_id uuid, node_id uuid, node_version bigint, cpu double precision, ram bigint,
  storage bigint, gpus text[], token bytea
);

create function flotilla_write_plan(leader_name text, leader uuid, leader_epoch bigint, plan jsonb, actor jsonb)
  returns table (placed_job uuid, placed_run uuid) language plpgsql as $$
declare
  at timestamptz := flotilla_now();
  -- Every step keeps what still holds; the last writes it.
  rows flotilla_plan_row[];
begin
  perform from leaderships l where l.name = leader_name and l.holder = leader and l.epoch = leader_epoch
    and l.expires_at > at for share;
  if not found then
    return;
  end if;
  rows := array(select p from jsonb_populate_recordset(null::flotilla_plan_row, plan) p order by p.ordinal);
  perform from nodes n where n.id in (select p.node_id from unnest(rows) p) order by n.id for update;
  rows := array(select p::flotilla_plan_row from unnest(rows) p
    where exists (select from nodes n where n.id = p.node_id and n.version = p.node_version and n.status = 'ready'
      and not n.is_cordoned) order by p.ordinal);
  rows := array(select p::flotilla_plan_row from unnest(rows) p
    where p.job_id in (select j.id from jobs j where j.id in (select q.job_id from unnest(rows) q)
      and j.status = 'PENDING' order by j.id for update skip locked) order by p.ordinal);
  rows := array(select row(s.ordinal, s.job_id, s.run_id, s.node_id, s.node_version, s.cpu, s.ram, s.storage, s.gpus,
      s.token)::flotilla_plan_row
    from (
      select q.*, sum(q.cpu) over w as cpu_sum, sum(q.ram) over w as ram_sum, sum(q.storage) over w as storage_sum
      from unnest(rows) q window w as (partition by q.node_id order by q.ordinal)
    ) s join nodes n on n.id = s.node_id
    where n.cpu_allocated + s.cpu_sum <= n.cpu_count + 1e-6 and n.ram_allocated + s.ram_sum <= n.ram_bytes
      and n.storage_allocated + s.storage_sum <= n.storage_bytes order by s.ordinal);
  rows := array(select p::flotilla_plan_row from unnest(rows) p
    where not exists (select from gpu_allocations g where g.node_id = p.node_id and g.gpu_uuid = any (p.gpus))
    order by p.ordinal);
  if cardinality(rows) = 0 then
    return;
  end if;
  insert into gpu_allocations (node_id, gpu_uuid, run_id)
    select p.node_id, unnest(p.gpus), p.run_id from unnest(rows) p;
  insert into job_runs (id, job_id, account_id, node_id, attempt, created_at, updated_at, status, cpu_count, ram_bytes,
      storage_bytes, gpu_uuids, start_deadline_at, stop_grace_ms, token_sealed)
    select p.run_id, j.id, j.account_id, p.node_id, j.last_attempt + 1, at, at, 'ASSIGNED', p.cpu, p.ram, p.storage,
      p.gpus, at + j.max_timeout_start_ms * interval '1 millisecond', (j.container ->> 'stop_grace_ms')::integer,
      p.token
    from unnest(rows) p join jobs j on j.id = p.job_id;
  update jobs j set status = 'ASSIGNED', last_run_id = p.run_id, last_attempt = j.last_attempt + 1,
      timeout_assign_at = null, updated_at = at, changed_in = pg_current_xact_id()
    from unnest(rows) p where j.id = p.job_id;
  update nodes n set cpu_allocated = n.cpu_allocated + s.cpu, ram_allocated = n.ram_allocated + s.ram,
      storage_allocated = n.storage_allocated + s.storage, run_count = n.run_count + s.runs,
      changed_in = pg_current_xact_id()
    from (select p.node_id, sum(p.cpu) as cpu, sum(p.ram) as ram, sum(p.storage) as storage, count(*) as runs
      from unnest(rows) p group by p.node_id) s
    where n.id = s.node_id;
  insert into job_events (created_at, job_id, run_id, kind, from_status, to_status, actor, detail)
    select at, p.job_id, p.run_id, 'placed', 'PENDING', 'ASSIGNED', actor, jsonb_build_object('node_uuid', p.node_id)
    from unnest(rows) p;
  return query select p.job_id, p.run_id from unnest(rows) p;
end
$$;
