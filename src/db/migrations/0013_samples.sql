-- Samples of what nodes and runs use, every ten seconds for an hour and then as averages of five minutes; and what the
-- reputation of nodes rests on.

-- A ring of slots of five minutes; the oldest is truncated whole before its turn comes again. The slots are not logged:
-- a crash of the database loses an hour of samples, and spares it a thousand logged rows a second.
-- null: that was not seen.
create table run_samples (
  slot smallint not null,
  run_id uuid not null,
  at timestamptz not null,
  -- The time that the sample covers: from the one before.
  span_ms integer not null,
  -- CPUs in use, on average over the span.
  cpu_cores real,
  memory_bytes bigint,
  -- 0 to 1, on average over the run's GPUs.
  gpu_utilisation real,
  gpu_memory_bytes bigint,
  -- Moved within the span.
  network_rx_bytes bigint,
  network_tx_bytes bigint,
  network_bytes bigint generated always as (network_rx_bytes + network_tx_bytes) stored,
  disk_read_bytes bigint,
  disk_written_bytes bigint
) partition by list (slot);
create index run_samples_by_run on run_samples (run_id, at);

create table node_samples (like run_samples including generated) partition by list (slot);
alter table node_samples rename column run_id to node_id;
create index node_samples_by_node on node_samples (node_id, at);

do $$
begin
  for slot in 0..15 loop
    execute format('create unlogged table run_samples_%s partition of run_samples for values in (%s)', slot, slot);
    execute format('create unlogged table node_samples_%s partition of node_samples for values in (%s)', slot, slot);
  end loop;
end
$$;

-- The last sample of a node as its agent told it.
create unlogged table node_loads (
  node_id uuid primary key,
  at timestamptz not null,
  load jsonb not null
) with (fillfactor = 50);

create function flotilla_sample_slot(at timestamptz) returns smallint
  language sql immutable as 'select ((extract(epoch from at)::bigint / 300) % 16)::smallint';

-- Five minutes from `at` on. Means are over the samples, except what moved: that is the sum.
create table run_sample_averages (
  run_id uuid not null,
  at timestamptz not null,
  sample_count smallint not null,
  span_ms integer not null,
  cpu_cores real,
  memory_bytes bigint,
  gpu_utilisation real,
  gpu_memory_bytes bigint,
  network_rx_bytes bigint,
  network_tx_bytes bigint,
  disk_read_bytes bigint,
  disk_written_bytes bigint,
  cpu_cores_max real,
  memory_bytes_max bigint,
  primary key (run_id, at)
) partition by range (at);
create table node_sample_averages (like run_sample_averages) partition by range (at);
alter table node_sample_averages rename column run_id to node_id;
alter table node_sample_averages add primary key (node_id, at);

-- How far a round of keeping house got; its row is locked while one is under way.
create table rounds (
  name text primary key,
  done_to timestamptz not null
);
insert into rounds (name, done_to) values ('sample_averages', '-infinity'), ('reputation', flotilla_now());

create function flotilla_ensure_sample_days(from_at timestamptz, to_at timestamptz) returns void
  language plpgsql set timezone = 'UTC' set lock_timeout = '2s' as $$
declare
  day date;
  parent text;
  child text;
begin
  foreach parent in array array['run_sample_averages', 'node_sample_averages'] loop
    for day in select d::date from generate_series(from_at::date, to_at::date, interval '1 day') d loop
      child := parent || '_' || to_char(day, 'YYYYMMDD');
      if to_regclass(child) is null then
        execute format('create table %I partition of %I for values from (%L) to (%L)', child, parent, day, day + 1);
      end if;
    end loop;
  end loop;
end
$$;

-- Averages of the five minutes that are over and were not averaged yet. True when there were some; a round that another
-- replica has under way is left to it.
create function flotilla_average_samples() returns boolean language plpgsql as $$
declare
  five constant interval := interval '5 minutes';
  epoch constant timestamptz := 'epoch';
  at timestamptz := flotilla_now();
  -- What was sent in the last seconds of the five minutes is written by then.
  to_at timestamptz := date_bin(five, at - interval '20 seconds', epoch);
  from_at timestamptz;
  bucket timestamptz;
  subject text;
begin
  select greatest(r.done_to, date_bin(five, at - interval '70 minutes', epoch)) into from_at
    from rounds r where r.name = 'sample_averages' for update skip locked;
  if from_at is null or from_at >= to_at then
    return false;
  end if;
  perform flotilla_ensure_sample_days(from_at, to_at);
  for bucket in select generate_series(from_at, to_at - five, five) loop
    foreach subject in array array['run', 'node'] loop
      execute format(
        'insert into %1$s_sample_averages select s.%1$s_id, %2$L, count(*), sum(s.span_ms), avg(s.cpu_cores),
            avg(s.memory_bytes), avg(s.gpu_utilisation), avg(s.gpu_memory_bytes), sum(s.network_rx_bytes),
            sum(s.network_tx_bytes), sum(s.disk_read_bytes), sum(s.disk_written_bytes), max(s.cpu_cores),
            max(s.memory_bytes)
          from %1$s_samples s where s.slot = %3$s and s.at >= %2$L and s.at < %4$L
          group by s.%1$s_id on conflict do nothing',
        subject, bucket, flotilla_sample_slot(bucket), bucket + five);
    end loop;
  end loop;
  update rounds set done_to = to_at where name = 'sample_averages';
  return true;
end
$$;

-- Empties the slot whose turn comes next, as for nonces: never in the last seconds of a slot.
create function flotilla_drop_old_samples() returns void language plpgsql set lock_timeout = '500ms' as $$
declare
  slot integer := flotilla_sample_slot(flotilla_now());
  subject text;
  next_slot text;
begin
  if flotilla_sample_slot(flotilla_now() + interval '5 seconds') <> slot then
    return;
  end if;
  foreach subject in array array['run', 'node'] loop
    next_slot := subject || '_samples_' || (slot + 1) % 16;
    if pg_relation_size(next_slot::regclass) > 0 then
      execute format('truncate %I', next_slot);
    end if;
  end loop;
end
$$;

-- Drops averages of days that are over and older than `before`.
create function flotilla_drop_old_averages(before timestamptz) returns void
  language plpgsql set timezone = 'UTC' set lock_timeout = '2s' as $$
declare
  child text;
begin
  for child in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent in ('run_sample_averages'::regclass, 'node_sample_averages'::regclass)
      and to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= before::date
  loop
    execute format('drop table %I', child);
  end loop;
end
$$;

-- Promises of a node, kept and broken, each worth less as time goes by; domain/reputation.ts has the rule.
create table node_reputations (
  node_id uuid primary key references nodes (id),
  kept double precision not null,
  broken double precision not null,
  as_of timestamptz not null
) with (fillfactor = 50);
-- Runs whose end the next round judges.
create index job_runs_by_release on job_runs (released_at) where released_at is not null;
