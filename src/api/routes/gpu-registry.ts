// Routes of the GPU registry and of the cluster's rates: everybody who submits jobs reads them, the cluster's admin edits them.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Sql } from '../../db/database.ts';
import {
  createRegistryGpu,
  type GpuRegistryRecord,
  getRates,
  setRates,
  updateRegistryGpu,
} from '../../db/gpu-registry.ts';
import type { Filter, ListQuery } from '../../db/list-sql.ts';
import { claimNonce } from '../../db/nonces.ts';
import { type Rates, toUsd } from '../../domain/price.ts';
import {
  CreateGpuRegistryBody,
  GpuRegistryEntry,
  GpuRegistryList,
  RateCard,
  RatesBody,
  UpdateGpuRegistryBody,
} from '../../protocol/gpu-registry.ts';
import type { ListEnvelope } from '../../protocol/list.ts';
import { recordChange } from '../audit-entry.ts';
import { type Caller, callerOf, requirePermission } from '../auth.ts';
import { type Capacity, nodesOpenTo } from '../capacity.ts';
import type { ApiDeps } from '../deps.ts';
import { ApiError, nonceReused, notFound } from '../errors.ts';
import { timestamp } from '../job-view.ts';
import { type FilterRules, parseListQuery } from '../list-query.ts';
import {
  listOf,
  listQuerySchema,
  pageOf,
  rawQueryOf,
  refuseQuery,
  uuidOf,
  uuidParams,
} from '../route-parts.ts';
import { bodyCheck } from '../validate.ts';

const filters: FilterRules = {
  only_available: { kind: 'words', column: 'only_available', words: ['true', 'false'] },
  min_vram_gb: { kind: 'numbers', column: 'min_vram_gb' },
  name: { kind: 'prefix', column: 'name' },
  uuid: { kind: 'uuids', column: 'uuid' },
};
const createCheck = bodyCheck(CreateGpuRegistryBody);
const updateCheck = bodyCheck(UpdateGpuRegistryBody);
const ratesCheck = bodyCheck(RatesBody);
const tags = ['GPU registry and offers'];

export function gpuRegistryRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.get(
    '/v1/gpu-registry',
    {
      schema: {
        tags,
        summary: 'List the known GPU models with VRAM, price and how many are free',
        querystring: listQuerySchema(filters),
        response: { 200: GpuRegistryList },
      },
    },
    (request) => listEntries(request, deps),
  );
  app.get(
    '/v1/gpu-registry/:uuid',
    {
      schema: { tags, summary: 'Get one GPU model', params: uuidParams, response: { 200: GpuRegistryEntry } },
    },
    (request) => getEntry(request, deps),
  );
  app.post(
    '/v1/gpu-registry',
    {
      schema: {
        tags,
        summary: 'Add a GPU model (admin of the cluster)',
        body: CreateGpuRegistryBody,
        response: { 201: GpuRegistryEntry },
      },
    },
    async (request, reply) => reply.code(201).send(await createEntry(request, deps)),
  );
  app.put(
    '/v1/gpu-registry/:uuid',
    {
      schema: {
        tags,
        summary:
          'Change a GPU model or its price (admin of the cluster); runs keep the price they began with',
        params: uuidParams,
        body: UpdateGpuRegistryBody,
        response: { 200: GpuRegistryEntry },
      },
    },
    (request) => updateEntry(request, deps),
  );
  app.get(
    '/v1/compute/rates',
    { schema: { tags, summary: 'Rates of what has no price of its own', response: { 200: RateCard } } },
    async (request) => {
      requirePermission(callerOf(request), 'offers:read');
      refuseQuery(request);
      return ratesView(await getRates(deps.database));
    },
  );
  app.put(
    '/v1/compute/rates',
    {
      schema: {
        tags,
        summary: 'Set the rates (admin of the cluster); runs keep the price they began with',
        body: RatesBody,
        response: { 200: RateCard },
      },
    },
    (request) => putRates(request, deps),
  );
}

async function listEntries(request: FastifyRequest, deps: ApiDeps): Promise<ListEnvelope<GpuRegistryEntry>> {
  const caller = callerOf(request);
  requirePermission(caller, 'offers:read');
  const query = parseListQuery(rawQueryOf(request), filters);
  const capacity = await deps.capacity.read();
  const views = viewsOf(capacity, { accountId: caller.accountId, deps }).filter(matching(query.filters));
  if (query.sort === 'created_at') views.reverse();
  return listOf(query, { items: [], total: views.length, isTotalExact: true }, pageOf(query, views));
}

/** The registry is small: it is filtered here, where the counts of free cards are. */
function matching(wanted: ListQuery['filters']): (entry: GpuRegistryEntry) => boolean {
  return (entry) => wanted.every((filter) => matches(filter, entry));
}

function matches(filter: Filter, entry: GpuRegistryEntry): boolean {
  switch (filter.kind) {
    case 'words':
      return !filter.words.includes('true') || entry.available_count > 0;
    case 'numbers':
      return entry.vram_gb >= Math.min(...filter.numbers);
    case 'number_range':
      return entry.vram_gb >= (filter.from ?? 0) && entry.vram_gb <= (filter.to ?? Number.POSITIVE_INFINITY);
    case 'prefix':
      return entry.name.toLowerCase().includes(filter.prefix.toLowerCase());
    case 'uuids':
      return filter.uuids.some((uuid) => uuid.toLowerCase() === entry.uuid);
    default:
      return true;
  }
}

async function getEntry(request: FastifyRequest, deps: ApiDeps): Promise<GpuRegistryEntry> {
  const caller = callerOf(request);
  requirePermission(caller, 'offers:read');
  const id = uuidOf(request, 'GPU model');
  const capacity = await deps.capacity.read();
  const entry = viewsOf(capacity, { accountId: caller.accountId, deps }).find(({ uuid }) => uuid === id);
  if (entry === undefined) throw notFound('GPU model');
  return entry;
}

async function createEntry(request: FastifyRequest, deps: ApiDeps): Promise<GpuRegistryEntry> {
  const caller = callerOf(request);
  requirePermission(caller, 'cluster:admin');
  const { vendor, name, aliases, vram_gb: vramGb, hourly_rate_usd: rate } = createCheck.parse(request.body);
  const created = await deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    const gpu = { vendor, name, aliases: aliases ?? [], vramGb, hourlyRateMicros: microsOf(rate) };
    const made = await createRegistryGpu(sql, { id: deps.newId(), ...gpu });
    if (made !== null)
      await recordRegistry(sql, { caller, deps }, { gpu: made, action: 'gpu_registry_created' });
    return made;
  });
  if (created === null) throw taken();
  return afterChange(created, caller.accountId, deps);
}

async function updateEntry(request: FastifyRequest, deps: ApiDeps): Promise<GpuRegistryEntry> {
  const caller = callerOf(request);
  requirePermission(caller, 'cluster:admin');
  const id = uuidOf(request, 'GPU model');
  const { vendor, name, aliases, vram_gb: vramGb, hourly_rate_usd: rate } = updateCheck.parse(request.body);
  const updated = await deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    const changed = await updateRegistryGpu(sql, id, {
      ...(vendor === undefined ? {} : { vendor }),
      ...(name === undefined ? {} : { name }),
      ...(aliases === undefined ? {} : { aliases: aliases ?? [] }),
      ...(vramGb === undefined ? {} : { vramGb }),
      ...(rate === undefined ? {} : { hourlyRateMicros: microsOf(rate) }),
    });
    if (typeof changed !== 'string')
      await recordRegistry(sql, { caller, deps }, { gpu: changed, action: 'gpu_registry_updated' });
    return changed;
  });
  if (updated === 'missing') throw notFound('GPU model');
  if (updated === 'taken') throw taken();
  return afterChange(updated, caller.accountId, deps);
}

function recordRegistry(
  sql: Sql,
  by: { caller: Caller; deps: ApiDeps },
  { gpu, action }: { gpu: GpuRegistryRecord; action: 'gpu_registry_created' | 'gpu_registry_updated' },
): Promise<void> {
  const { id, vendor, name, aliases, vramGb, hourlyRateMicros } = gpu;
  const rate = hourlyRateMicros === null ? null : toUsd(hourlyRateMicros);
  return recordChange(sql, by, {
    ...{ accountId: null, action, subjectKind: 'gpu_registry_entry', subjectId: id },
    detail: { vendor, name, aliases, vram_gb: vramGb, hourly_rate_usd: rate },
  });
}

function taken(): ApiError {
  return new ApiError('conflict', 'The GPU registry has a model of that name and VRAM already.');
}

async function afterChange(
  record: GpuRegistryRecord,
  accountId: string,
  deps: ApiDeps,
): Promise<GpuRegistryEntry> {
  deps.capacity.forget();
  const capacity = await deps.capacity.read();
  const view = viewsOf(capacity, { accountId, deps }).find(({ uuid }) => uuid === record.id);
  if (view === undefined) throw notFound('GPU model');
  return view;
}

async function putRates(request: FastifyRequest, deps: ApiDeps): Promise<RateCard> {
  const caller = callerOf(request);
  requirePermission(caller, 'cluster:admin');
  const body = ratesCheck.parse(request.body);
  const rates: Rates = {
    unpricedGpuMicros: Math.round(body.unpriced_gpu_usd * 1e6),
    cpuMicros: Math.round(body.cpu_usd * 1e6),
    ramGbMicros: Math.round(body.ram_gb_usd * 1e6),
  };
  await deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    await setRates(sql, rates);
    const subject = { accountId: null, subjectKind: 'cluster', subjectId: null };
    await recordChange(sql, { caller, deps }, { ...subject, action: 'rates_set', detail: { ...body } });
  });
  deps.capacity.forget();
  return ratesView(rates);
}

function ratesView({ unpricedGpuMicros, cpuMicros, ramGbMicros }: Rates): RateCard {
  return {
    object: 'rates',
    unpriced_gpu_usd: toUsd(unpricedGpuMicros),
    cpu_usd: toUsd(cpuMicros),
    ram_gb_usd: toUsd(ramGbMicros),
  };
}

function microsOf(usd: number | null | undefined): number | null {
  return usd === null || usd === undefined ? null : Math.round(usd * 1e6);
}

/** Newest first, and by name where they came together. */
function viewsOf(
  capacity: Capacity,
  { accountId, deps }: { accountId: string; deps: ApiDeps },
): GpuRegistryEntry[] {
  const total = new Map<string, number>();
  const available = new Map<string, number>();
  for (const node of nodesOpenTo(capacity, accountId, deps.trustTenants)) {
    for (const { registryUuid, isAllocated } of node.gpus) {
      if (registryUuid === null) continue;
      total.set(registryUuid, (total.get(registryUuid) ?? 0) + 1);
      if (node.isSchedulable && !isAllocated)
        available.set(registryUuid, (available.get(registryUuid) ?? 0) + 1);
    }
  }
  const views = capacity.registry.map((gpu) => ({
    object: 'gpu_registry_entry' as const,
    uuid: gpu.id,
    vendor: gpu.vendor,
    name: gpu.name,
    aliases: [...gpu.aliases],
    vram_gb: gpu.vramGb,
    hourly_rate_usd: gpu.hourlyRateMicros === null ? null : toUsd(gpu.hourlyRateMicros),
    price_source: gpu.priceSource,
    is_discovered: gpu.isDiscovered,
    total_count: total.get(gpu.id) ?? 0,
    available_count: available.get(gpu.id) ?? 0,
    created_at: timestamp(gpu.createdAtMs),
    updated_at: timestamp(gpu.updatedAtMs),
  }));
  return views.sort((a, b) => (a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : 0));
}
