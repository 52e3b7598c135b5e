-- Receipts: what was seen of a run's end, kept with the run.

alter table job_runs
  -- The engine's name for its container, so that a restarted agent can look for what is left of it.
  add column container_id text,
  -- Every byte that the container wrote was stored, save the gap of a log above its cap; null: nobody could say.
  add column is_log_complete boolean,
  -- {marks, proof, proved_at_ms, fenced}; null before the first report of the end.
  add column receipt jsonb;

-- Given up with their node and not proved since: the node is asked for them when it comes back.
create index job_runs_unproved on job_runs (node_id) where receipt ? 'fenced' and not receipt ? 'proof';
