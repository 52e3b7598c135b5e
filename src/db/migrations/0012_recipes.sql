-- Recipes: stored job templates with typed inputs, a row a version, and what a job was cooked from.

create table recipes (
  id uuid primary key,
  -- null: official, of the cluster.
  account_id uuid references accounts (id),
  name text not null,
  description text,
  visibility text not null check (visibility in ('PRIVATE', 'PUBLIC', 'ARCHIVED')),
  version integer not null default 1,
  quickstart_md text,
  thumbnail_url text,
  forked_from uuid,
  last_used_at timestamptz,
  created_at timestamptz not null default flotilla_now(),
  updated_at timestamptz not null default flotilla_now()
);
create index recipes_by_account on recipes (account_id, created_at, id);
create index recipes_shared on recipes (created_at, id) where account_id is null or visibility = 'PUBLIC';

-- A job keeps the version it was cooked from. The payload may hold registry secrets and env values: sealed whole.
create table recipe_versions (
  recipe_id uuid not null references recipes (id) on delete cascade,
  version integer not null,
  payload_sealed bytea not null,
  input_schema jsonb not null,
  created_at timestamptz not null default flotilla_now(),
  primary key (recipe_id, version)
);

alter table jobs add column source_recipe_version integer;
create index jobs_by_recipe on jobs (source_recipe_uuid, created_at, id) where source_recipe_uuid is not null;
