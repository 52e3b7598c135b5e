// The GPU registry: known models with memory and price, and the rates of what has no model.
import type { RegistryGpu } from '../domain/gpu-registry.ts';
import { freeRates, type Rates } from '../domain/price.ts';
import type { Sql } from './database.ts';

export interface GpuRegistryRecord extends RegistryGpu {
  vendor: string;
  /** Where the price comes from; null: an admin's, or none. */
  priceSource: string | null;
  /** Seen on a node before anybody described it. */
  isDiscovered: boolean;
  createdAtMs: number;
  updatedAtMs: number;
}

interface GpuRegistryRow {
  id: string;
  vendor: string;
  name: string;
  aliases: string[];
  vram_gb: number;
  hourly_rate_micros: number | null;
  price_source: string | null;
  is_discovered: boolean;
  created_at: number;
  updated_at: number;
}

/** All of it, by name: a few hundred rows. */
export async function listRegistryGpus(sql: Sql): Promise<GpuRegistryRecord[]> {
  const rows = await sql.query<GpuRegistryRow>({
    name: 'list_registry_gpus',
    text: 'select * from gpu_registry order by name, vram_gb',
  });
  return rows.map(toRecord);
}

export interface GpuRegistryChange {
  vendor: string;
  name: string;
  aliases: readonly string[];
  vramGb: number;
  hourlyRateMicros: number | null;
}

/** null: the registry has a model of that name and memory already. */
export async function createRegistryGpu(
  sql: Sql,
  gpu: GpuRegistryChange & { id: string },
): Promise<GpuRegistryRecord | null> {
  const [row] = await sql.query<GpuRegistryRow>(
    `insert into gpu_registry (id, vendor, name, aliases, vram_gb, hourly_rate_micros)
     values ($1, $2, $3, $4, $5, $6) on conflict do nothing returning *`,
    [gpu.id, gpu.vendor, gpu.name, gpu.aliases, gpu.vramGb, gpu.hourlyRateMicros],
  );
  return row === undefined ? null : toRecord(row);
}

/** What is absent stays. `missing`: there is no such model; `taken`: another has that name and memory. */
export async function updateRegistryGpu(
  sql: Sql,
  id: string,
  change: Partial<GpuRegistryChange>,
): Promise<GpuRegistryRecord | 'missing' | 'taken'> {
  const [row] = await sql.query<GpuRegistryRow & { is_taken: boolean }>(
    `with wanted as materialized (
       select id, coalesce($2, vendor) as vendor, coalesce($3, name) as name, coalesce($4, aliases) as aliases,
         coalesce($5, vram_gb) as vram_gb
       from gpu_registry where id = $1 for update
     ), taken as materialized (
       select exists (select from gpu_registry g, wanted w where lower(g.name) = lower(w.name)
         and g.vram_gb = w.vram_gb and g.id <> w.id) as is_so
     ), changed as (
       update gpu_registry g set vendor = w.vendor, name = w.name, aliases = w.aliases, vram_gb = w.vram_gb,
         hourly_rate_micros = case when $6 then $7::bigint else g.hourly_rate_micros end,
         price_source = case when $6 then null else g.price_source end, is_discovered = false,
         updated_at = flotilla_now()
       from wanted w where g.id = w.id and not (select is_so from taken) returning g.*
     )
     select c.*, false as is_taken from changed c
     union all select g.*, true from gpu_registry g, wanted w where g.id = w.id and (select is_so from taken)`,
    [
      id,
      change.vendor ?? null,
      change.name ?? null,
      change.aliases ?? null,
      change.vramGb ?? null,
      change.hourlyRateMicros !== undefined,
      change.hourlyRateMicros ?? null,
    ],
  );
  if (row === undefined) return 'missing';
  return row.is_taken ? 'taken' : toRecord(row);
}

/** Adds models that a node has and nobody described, without a price. */
export async function discoverGpus(
  sql: Sql,
  gpus: readonly { id: string; name: string; vramGb: number }[],
): Promise<void> {
  await sql.query(
    `insert into gpu_registry (id, vendor, name, vram_gb, is_discovered)
     select d.id, split_part(d.name, ' ', 1), d.name, d.vram_gb, true
     from unnest($1::uuid[], $2::text[], $3::double precision[]) as d(id, name, vram_gb) on conflict do nothing`,
    [gpus.map(({ id }) => id), gpus.map(({ name }) => name), gpus.map(({ vramGb }) => vramGb)],
  );
}

const ratesName = 'rates';

export async function getRates(sql: Sql): Promise<Rates> {
  const [row] = await sql.query<{ value: Partial<Rates> }>({
    name: 'get_rates',
    text: `select value from settings where name = '${ratesName}'`,
  });
  return { ...freeRates, ...row?.value };
}

export async function setRates(sql: Sql, rates: Rates): Promise<void> {
  await sql.query(
    `insert into settings (name, value) values ($1, $2)
     on conflict (name) do update set value = excluded.value, updated_at = flotilla_now()`,
    [ratesName, JSON.stringify(rates)],
  );
}

function toRecord(row: GpuRegistryRow): GpuRegistryRecord {
  return {
    id: row.id,
    vendor: row.vendor,
    name: row.name,
    aliases: row.aliases,
    vramGb: row.vram_gb,
    hourlyRateMicros: row.hourly_rate_micros,
    priceSource: row.price_source,
    isDiscovered: row.is_discovered,
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
  };
}
