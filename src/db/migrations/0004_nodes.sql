-- Nodes: maintenance (cordon, drain, removal), orphans, restored databases, and their record; what a lost node means
-- for a job.

-- null: by max_retry_count, as for every BATCH job.
alter table jobs add column on_node_lost text check (on_node_lost in ('fail', 'replace'));

alter table nodes drop constraint nodes_status_check;
alter table nodes add constraint nodes_status_check
  check (status in ('offline', 'ready', 'unreachable', 'lost', 'removed'));
alter table nodes
  -- Why it takes no new work, in the operator's words.
  add column cordon_reason text,
  -- A drain under way: runs that are left at the deadline are stopped.
  add column drain_requested_at timestamptz,
  add column drain_deadline_at timestamptz,
  -- Containers of this cluster that the agent found and this database does not know:
  -- [{run_uuid, attempt, state, first_seen_at, removal_at}].
  add column orphans jsonb not null default '[]',
  -- After the database was restored a node removes nothing until the admin's word.
  add column awaits_word boolean not null default false,
  -- The highest cluster generation that the word was given for, and the highest that its agent has seen.
  add column accepted_generation integer not null default 1,
  add column seen_generation integer not null default 1,
  -- Runs that its agent was ordered and this database does not know; and those of them that the word covers.
  add column lost_orders uuid[] not null default '{}',
  add column accepted_orders uuid[] not null default '{}';

-- The name of a removed node is free again; the row stays, since runs and events name it.
drop index nodes_by_name;
create unique index nodes_by_name on nodes (account_id, name) where status <> 'removed';
create index nodes_draining on nodes (drain_deadline_at) where drain_deadline_at is not null;

-- What happened to a node: who, why.
create table node_events (
  id bigint generated always as identity primary key,
  created_at timestamptz not null default flotilla_now(),
  node_id uuid not null,
  kind text not null,
  actor jsonb not null,
  detail jsonb
);
create index node_events_by_node on node_events (node_id, id);
create index node_events_by_time on node_events (created_at);
