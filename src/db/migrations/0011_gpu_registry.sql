-- GPU registry: the known models, their memory and price; settings that an admin may change.

create table settings (
  name text primary key,
  value jsonb not null,
  updated_at timestamptz not null default flotilla_now()
);

create table gpu_registry (
  id uuid primary key,
  vendor text not null,
  name text not null,
  aliases text[] not null default '{}',
  vram_gb double precision not null,
  -- Micro-dollars; null: no price is known.
  hourly_rate_micros bigint check (hourly_rate_micros >= 0),
  -- Where the price comes from; null: an admin's, or none.
  price_source text,
  -- Seen on a node before anybody described it.
  is_discovered boolean not null default false,
  created_at timestamptz not null default flotilla_now(),
  updated_at timestamptz not null default flotilla_now()
);
create unique index gpu_registry_by_name on gpu_registry (lower(name), vram_gb);

-- Fixed at the placement, in micro-dollars.
alter table job_runs add column hourly_rate_micros bigint not null default 0;
alter table job_runs drop column hourly_rate_usd;

-- Memory by the vendors' data sheets. Prices: reference = what the network of this API charged; runpod-cloud = least hourly
-- prices of its cloud in March 2026 (deploybase.ai/articles/runpod-gpu-pricing); runpod-serverless = active workers
-- (docs.runpod.io/serverless/pricing). They are a beginning: an admin sets what holds here.
insert into gpu_registry (id, vendor, name, aliases, vram_gb, hourly_rate_micros, price_source) values
  ('01a20000-115b-7c60-8b4a-ae8311c66740', 'NVIDIA', 'NVIDIA GeForce GTX 1080 Ti', '{}', 11, null, null),
  ('01a20000-eb63-7a0f-844b-a50a0315877b', 'NVIDIA', 'NVIDIA GeForce RTX 2060', '{}', 6, null, null),
  ('01a20000-97a7-784e-835c-52ca3a3251dd', 'NVIDIA', 'NVIDIA GeForce RTX 2060 SUPER', '{}', 8, null, null),
  ('01a20000-6bc3-7658-841d-3a1b973222e1', 'NVIDIA', 'NVIDIA GeForce RTX 2070', '{}', 8, null, null),
  ('01a20000-81f2-7407-8c0c-0654bd49b6eb', 'NVIDIA', 'NVIDIA GeForce RTX 2070 SUPER', '{}', 8, null, null),
  ('01a20000-4284-7471-8de6-ef4b10d1a5dd', 'NVIDIA', 'NVIDIA GeForce RTX 2080', '{}', 8, null, null),
  ('01a20000-880c-784a-8690-1a65e94f9637', 'NVIDIA', 'NVIDIA GeForce RTX 2080 SUPER', '{}', 8, null, null),
  ('01a20000-41ac-7712-834e-c2b151e91863', 'NVIDIA', 'NVIDIA GeForce RTX 2080 Ti', '{}', 11, null, null),
  ('01a20000-b82e-700f-8132-65a26b76d8b1', 'NVIDIA', 'NVIDIA TITAN RTX', '{}', 24, null, null),
  ('01a20000-10b1-769a-82d5-2a72641f3be1', 'NVIDIA', 'NVIDIA GeForce RTX 3050', '{}', 8, null, null),
  ('01a20000-c7e7-7fb4-8266-445b2a83213c', 'NVIDIA', 'NVIDIA GeForce RTX 3060', '{}', 12, null, null),
  ('01a20000-808c-7a5f-8c8f-bf55d722b9ba', 'NVIDIA', 'NVIDIA GeForce RTX 3060 Ti', '{}', 8, null, null),
  ('01a20000-5616-79d4-8c81-da0fac69d5be', 'NVIDIA', 'NVIDIA GeForce RTX 3070', '{}', 8, null, null),
  ('01a20000-febd-745c-8193-ed748bd6a92c', 'NVIDIA', 'NVIDIA GeForce RTX 3070 Ti', '{}', 8, null, null),
  ('01a20000-04c7-7dfc-8bec-e9a12ff5e618', 'NVIDIA', 'NVIDIA GeForce RTX 3080', '{}', 10, null, null),
  ('01a20000-0c95-7f6f-8765-954e3119c929', 'NVIDIA', 'NVIDIA GeForce RTX 3080 12GB', '{}', 12, null, null),
  ('01a20000-5084-77f8-8d9c-08d052e98143', 'NVIDIA', 'NVIDIA GeForce RTX 3080 Ti', '{}', 12, null, null),
  ('01a20000-f991-7a84-8b75-b296e7e7bb8c', 'NVIDIA', 'NVIDIA GeForce RTX 3090', '{}', 24, 310000, 'reference'),
  ('01a20000-5adc-763c-827a-0811aa8a9442', 'NVIDIA', 'NVIDIA GeForce RTX 3090 Ti', '{}', 24, null, null),
  ('01a20000-60ac-7b58-805d-4e755a306c80', 'NVIDIA', 'NVIDIA GeForce RTX 4060', '{}', 8, null, null),
  ('01a20000-bfb0-71b2-8247-3fd90f40749d', 'NVIDIA', 'NVIDIA GeForce RTX 4060 Ti', '{}', 8, null, null),
  ('01a20000-b615-7d60-87a5-a601c2208960', 'NVIDIA', 'NVIDIA GeForce RTX 4060 Ti 16GB', '{}', 16, null, null),
  ('01a20000-b16b-70a9-887d-ce928f253248', 'NVIDIA', 'NVIDIA GeForce RTX 4070', '{}', 12, null, null),
  ('01a20000-9bf4-7462-805c-f0043bdb27c6', 'NVIDIA', 'NVIDIA GeForce RTX 4070 SUPER', '{}', 12, null, null),
  ('01a20000-8290-7601-85d8-76cad7c22d4f', 'NVIDIA', 'NVIDIA GeForce RTX 4070 Ti', '{}', 12, null, null),
  ('01a20000-8f30-7f12-8997-6a39bead0583', 'NVIDIA', 'NVIDIA GeForce RTX 4070 Ti SUPER', '{}', 16, null, null),
  ('01a20000-f75f-7041-84e8-4cbd86c58b46', 'NVIDIA', 'NVIDIA GeForce RTX 4080', '{}', 16, null, null),
  ('01a20000-3280-7092-86f5-8e385f9e40ed', 'NVIDIA', 'NVIDIA GeForce RTX 4080 SUPER', '{}', 16, null, null),
  ('01a20000-58e4-773d-8f41-f1dfb1540fd0', 'NVIDIA', 'NVIDIA GeForce RTX 4090', '{}', 24, 350000, 'reference'),
  ('01a20000-2284-73c4-8c2b-0faa52b3c561', 'NVIDIA', 'NVIDIA GeForce RTX 4090 D', '{}', 24, null, null),
  ('01a20000-bdea-7bd1-86c7-64608cf047f1', 'NVIDIA', 'NVIDIA GeForce RTX 5050', '{}', 8, null, null),
  ('01a20000-3c03-7ec2-8af2-01fb104b8c73', 'NVIDIA', 'NVIDIA GeForce RTX 5060', '{}', 8, null, null),
  ('01a20000-bd29-71e3-8258-d7b0194b7a05', 'NVIDIA', 'NVIDIA GeForce RTX 5060 Ti', '{}', 8, null, null),
  ('01a20000-c41c-7964-818b-432cef3e077c', 'NVIDIA', 'NVIDIA GeForce RTX 5060 Ti 16GB', '{}', 16, null, null),
  ('01a20000-874d-7327-8256-cc7b0fc48a1b', 'NVIDIA', 'NVIDIA GeForce RTX 5070', '{}', 12, null, null),
  ('01a20000-9c1a-76f6-8573-4dac17afcfbb', 'NVIDIA', 'NVIDIA GeForce RTX 5070 Ti', '{}', 16, null, null),
  ('01a20000-85bb-7951-84df-0cd1795ade1e', 'NVIDIA', 'NVIDIA GeForce RTX 5080', '{}', 16, null, null),
  ('0198ac1c-7063-4be8-bb94-57a5bd83548e', 'NVIDIA', 'NVIDIA GeForce RTX 5090', '{}', 32, 690000, 'reference'),
  ('01a20000-571a-728c-8000-f9c4bbc332d7', 'NVIDIA', 'NVIDIA GeForce RTX 5090 D', '{}', 32, null, null),
  ('01a20000-1ec5-7ac2-84e2-1860c8211eb8', 'NVIDIA', 'NVIDIA Quadro RTX 5000', '{}', 16, null, null),
  ('01a20000-fd71-7923-8c80-e9c23fc3f4fc', 'NVIDIA', 'NVIDIA Quadro RTX 6000', '{}', 24, null, null),
  ('01a20000-40f2-75b5-832b-c1b589deeea8', 'NVIDIA', 'NVIDIA Quadro RTX 8000', '{}', 48, null, null),
  ('01a20000-b878-7b5c-846d-2608c72bcbed', 'NVIDIA', 'NVIDIA RTX A2000', '{}', 6, null, null),
  ('01a20000-9807-7cac-8f1b-4bd32d3e694a', 'NVIDIA', 'NVIDIA RTX A2000 12GB', '{}', 12, null, null),
  ('01a20000-bd84-7f94-80b7-6128b7ccd41b', 'NVIDIA', 'NVIDIA RTX A4000', '{}', 16, 396000, 'runpod-serverless'),
  ('01a20000-9771-7ab1-8580-0314cb524db5', 'NVIDIA', 'NVIDIA RTX A4500', '{}', 20, 396000, 'runpod-serverless'),
  ('01a20000-117e-7515-8f20-ac49bf86aec0', 'NVIDIA', 'NVIDIA RTX A5000', '{}', 24, 468000, 'runpod-serverless'),
  ('01a20000-2d46-7f3f-8b9c-b378260721cb', 'NVIDIA', 'NVIDIA RTX A5500', '{}', 24, null, null),
  ('01a20000-dc6d-7bbe-87ea-2b7cde2f01b6', 'NVIDIA', 'NVIDIA RTX A6000', '{}', 48, 864000, 'runpod-serverless'),
  ('01a20000-7960-71fa-894b-989da2b008c6', 'NVIDIA', 'NVIDIA RTX 2000 Ada Generation', '{"RTX 2000 Ada"}', 16, null, null),
  ('01a20000-afb9-7c41-8b28-97de28d96f87', 'NVIDIA', 'NVIDIA RTX 4000 Ada Generation', '{"RTX 4000 Ada"}', 20, null, null),
  ('01a20000-9f03-74a4-8c0b-08aaa8469e85', 'NVIDIA', 'NVIDIA RTX 4500 Ada Generation', '{"RTX 4500 Ada"}', 24, null, null),
  ('01a20000-6e10-7c78-861d-4d0ea180bffe', 'NVIDIA', 'NVIDIA RTX 5000 Ada Generation', '{"RTX 5000 Ada"}', 32, null, null),
  ('01a20000-fa7e-7514-87e6-a06f393b92e4', 'NVIDIA', 'NVIDIA RTX 6000 Ada Generation', '{"RTX 6000 Ada"}', 48, 1332000, 'runpod-serverless'),
  ('01a20000-6094-7f9c-8d7e-9ddab527845f', 'NVIDIA', 'NVIDIA RTX PRO 4000 Blackwell', '{}', 24, null, null),
  ('01a20000-26ab-7ca9-8794-f10f09e17a3b', 'NVIDIA', 'NVIDIA RTX PRO 4500 Blackwell', '{}', 32, null, null),
  ('01a20000-800b-7847-8fae-87748f89c73b', 'NVIDIA', 'NVIDIA RTX PRO 5000 Blackwell', '{}', 48, null, null),
  ('01a20000-3388-7a5f-829a-d1a7bc7e3e96', 'NVIDIA', 'NVIDIA RTX PRO 6000 Blackwell', '{"RTX PRO 6000"}', 96, 890000, 'runpod-cloud'),
  ('01a20000-e090-799d-8b0f-3cb9ae7040df', 'NVIDIA', 'NVIDIA Tesla P4', '{}', 8, null, null),
  ('01a20000-4fb1-73dc-801c-6d9b28443264', 'NVIDIA', 'NVIDIA Tesla P40', '{}', 24, null, null),
  ('01a20000-4543-7b46-8f56-844725d12a57', 'NVIDIA', 'NVIDIA Tesla P100', '{}', 16, null, null),
  ('01a20000-6933-7442-8a9d-d9171378e961', 'NVIDIA', 'NVIDIA Tesla V100 16GB', '{}', 16, null, null),
  ('01a20000-d20d-7d32-892e-bf50095c72a2', 'NVIDIA', 'NVIDIA Tesla V100 32GB', '{}', 32, null, null),
  ('01a20000-5d6a-70de-85d2-ee371f39b5c7', 'NVIDIA', 'NVIDIA Tesla T4', '{}', 16, null, null),
  ('01a20000-be74-70c8-8fb6-1073ebd8875c', 'NVIDIA', 'NVIDIA A2', '{}', 16, null, null),
  ('01a20000-deec-7578-83c5-0bb79ae949f8', 'NVIDIA', 'NVIDIA A10', '{}', 24, null, null),
  ('01a20000-6993-759f-82e7-6204e9c405e9', 'NVIDIA', 'NVIDIA A10G', '{}', 24, null, null),
  ('01a20000-10ba-769f-8ccd-5f7a295411ed', 'NVIDIA', 'NVIDIA A16', '{}', 16, null, null),
  ('01a20000-c429-7255-8673-77d7c5070a85', 'NVIDIA', 'NVIDIA A30', '{}', 24, null, null),
  ('01a20000-2659-736e-8fa2-4b6844d6dec5', 'NVIDIA', 'NVIDIA A40', '{}', 48, 864000, 'runpod-serverless'),
  ('01a20000-fa9d-7ec7-8591-795ab1b15c5c', 'NVIDIA', 'NVIDIA A100 40GB', '{}', 40, null, null),
  ('01a20000-75eb-7eb2-8f2b-754c0fa69418', 'NVIDIA', 'NVIDIA A100 80GB PCIe', '{"A100 80GB"}', 80, 1190000, 'runpod-cloud'),
  ('01a20000-56e0-79db-8e4e-17d0df009baf', 'NVIDIA', 'NVIDIA A100 80GB SXM', '{"A100 SXM4 80GB"}', 80, 1390000, 'runpod-cloud'),
  ('01a20000-1bed-7aac-8708-4d43a52f66a8', 'NVIDIA', 'NVIDIA L4', '{}', 24, 440000, 'runpod-cloud'),
  ('01a20000-c95b-7046-8a0c-713aac638017', 'NVIDIA', 'NVIDIA L40', '{}', 48, 690000, 'runpod-cloud'),
  ('01a20000-5b23-7c38-803b-ba3c83b2df21', 'NVIDIA', 'NVIDIA L40S', '{}', 48, 790000, 'runpod-cloud'),
  ('01a20000-2de8-7589-88b6-173b3be97c7e', 'NVIDIA', 'NVIDIA H100 PCIe', '{}', 80, 1990000, 'runpod-cloud'),
  ('01a20000-7384-72f7-8ac4-a1e417f37040', 'NVIDIA', 'NVIDIA H100 80GB SXM', '{"H100 80GB HBM3","H100 SXM5"}', 80, 2690000, 'runpod-cloud'),
  ('01a20000-1df1-7044-8689-21207fdc99bc', 'NVIDIA', 'NVIDIA H100 NVL', '{}', 94, null, null),
  ('01a20000-7742-78dd-87ae-14e12ef8e79c', 'NVIDIA', 'NVIDIA H20', '{}', 96, null, null),
  ('01a20000-1358-7510-8b5f-76ad3d99b5ba', 'NVIDIA', 'NVIDIA H200', '{}', 141, 3590000, 'runpod-cloud'),
  ('01a20000-8e08-7f02-8182-5f46683ddf51', 'NVIDIA', 'NVIDIA GH200', '{"GH200 480GB"}', 96, null, null),
  ('01a20000-644a-75b4-82ae-efa29ded1ba3', 'NVIDIA', 'NVIDIA B200', '{}', 180, 5980000, 'runpod-cloud'),
  ('01a20000-a2fe-7409-8fa2-9ccdf2168f9d', 'NVIDIA', 'NVIDIA B300', '{}', 288, null, null),
  ('01a20000-ebd4-7671-8427-e880b737afc3', 'NVIDIA', 'NVIDIA GB10', '{}', 128, null, null),
  ('01a20000-6302-740c-818b-1abddeaf23fd', 'AMD', 'AMD Instinct MI50', '{}', 16, null, null),
  ('01a20000-261d-7d92-85e4-104c87fd814f', 'AMD', 'AMD Instinct MI100', '{}', 32, null, null),
  ('01a20000-af12-76ee-8c1b-47341939c82b', 'AMD', 'AMD Instinct MI210', '{}', 64, null, null),
  ('01a20000-d2f7-79e6-8c93-ebfb9e254517', 'AMD', 'AMD Instinct MI250', '{}', 128, null, null),
  ('01a20000-eb3a-78d7-86bc-0082e650697e', 'AMD', 'AMD Instinct MI250X', '{}', 128, null, null),
  ('01a20000-e383-77c6-82ff-9be72535aa53', 'AMD', 'AMD Instinct MI300A', '{}', 128, null, null),
  ('01a20000-9140-720e-8c14-833e7b2fb445', 'AMD', 'AMD Instinct MI300X', '{}', 192, null, null),
  ('01a20000-f14c-76b0-83a2-f9af938c8303', 'AMD', 'AMD Instinct MI325X', '{}', 256, null, null),
  ('01a20000-9f65-7ad9-8a84-4de3268a99f1', 'AMD', 'AMD Instinct MI350X', '{}', 288, null, null),
  ('01a20000-e20d-720a-8f66-1a60964cd0fe', 'AMD', 'AMD Instinct MI355X', '{}', 288, null, null),
  ('01a20000-a253-7c53-8c80-b37c98539cb9', 'AMD', 'AMD Radeon RX 6800', '{}', 16, null, null),
  ('01a20000-5bb8-7424-8b21-a9fc92742825', 'AMD', 'AMD Radeon RX 6800 XT', '{}', 16, null, null),
  ('01a20000-2afe-7b0e-8926-678c01bf4af5', 'AMD', 'AMD Radeon RX 6900 XT', '{}', 16, null, null),
  ('01a20000-dc11-70e6-8602-2589b8f90fca', 'AMD', 'AMD Radeon RX 6950 XT', '{}', 16, null, null),
  ('01a20000-e093-7d65-8a20-bec35487dc48', 'AMD', 'AMD Radeon RX 7600', '{}', 8, null, null),
  ('01a20000-a42c-7a7f-89a5-e14910cefd5b', 'AMD', 'AMD Radeon RX 7700 XT', '{}', 12, null, null),
  ('01a20000-ae22-7702-81c4-6f750d8c0572', 'AMD', 'AMD Radeon RX 7800 XT', '{}', 16, null, null),
  ('01a20000-24df-756f-86a1-ab33469babfa', 'AMD', 'AMD Radeon RX 7900 GRE', '{}', 16, null, null),
  ('01a20000-ce1a-7069-8d49-4ceef8190dd8', 'AMD', 'AMD Radeon RX 7900 XT', '{}', 20, null, null),
  ('01a20000-e291-750f-8cc1-c6f268003765', 'AMD', 'AMD Radeon RX 7900 XTX', '{}', 24, null, null),
  ('01a20000-de39-792f-816e-0f0810bb9a06', 'AMD', 'AMD Radeon RX 9060 XT', '{}', 16, null, null),
  ('01a20000-542b-7ccc-8ddd-b61b23721119', 'AMD', 'AMD Radeon RX 9070', '{}', 16, null, null),
  ('01a20000-22a7-7e34-8d15-e33c261924c5', 'AMD', 'AMD Radeon RX 9070 XT', '{}', 16, null, null),
  ('01a20000-11cd-7665-8b81-f4b5edb716f8', 'AMD', 'AMD Radeon PRO W6800', '{}', 32, null, null),
  ('01a20000-dc77-7e87-8d54-b0dd3edbca66', 'AMD', 'AMD Radeon PRO W7800', '{}', 32, null, null),
  ('01a20000-b3fc-7cef-8076-5bbb6df8ab73', 'AMD', 'AMD Radeon PRO W7900', '{}', 48, null, null),
  ('01a20000-f332-7ed8-8f05-e2e6e0efd4c1', 'AMD', 'AMD Radeon AI PRO R9700', '{}', 32, null, null);

-- The rate is part of the plan, so that a run never exists without its price.
alter type flotilla_plan_row add attribute rate bigint;

create or replace function flotilla_write_plan(leader_name text, leader uuid, leader_epoch bigint, plan jsonb, actor jsonb)
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
      s.token, s.rate)::flotilla_plan_row
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
      storage_bytes, gpu_uuids, start_deadline_at, stop_grace_ms, token_sealed,
      hourly_rate_micros)
    select p.run_id, j.id, j.account_id, p.node_id, j.last_attempt + 1, at, at, 'ASSIGNED', p.cpu, p.ram, p.storage,
      p.gpus, at + j.max_timeout_start_ms * interval '1 millisecond', (j.container ->> 'stop_grace_ms')::integer,
      p.token, coalesce(p.rate, 0)
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
