// Routes of offers: what could be rented right now, from live free capacity, with its price.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Filter } from '../../db/list-sql.ts';
import { matchesGpuName } from '../../domain/gpu-match.ts';
import { type Offer as FreeOffer, offersOf } from '../../domain/market.ts';
import { toUsd } from '../../domain/price.ts';
import { type Offer, OfferList } from '../../protocol/offer.ts';
import { regionCodes } from '../../protocol/schema.ts';
import { callerOf, requirePermission } from '../auth.ts';
import { nodesOpenTo } from '../capacity.ts';
import type { ApiDeps } from '../deps.ts';
import { timestamp } from '../job-view.ts';
import { type FilterRules, parseListQuery } from '../list-query.ts';
import { listOf, listQuerySchema, pageOf, rawQueryOf } from '../route-parts.ts';

const filters: FilterRules = {
  cpu_count: { kind: 'numbers', column: 'cpu_count' },
  gpu_count: { kind: 'numbers', column: 'gpu_count' },
  gpu_name: { kind: 'prefix', column: 'gpu_name' },
  gpu_registry_uuid: { kind: 'uuids', column: 'gpu_registry_uuid' },
  min_vram_gb: { kind: 'numbers', column: 'min_vram_gb' },
  min_ram_gb: { kind: 'numbers', column: 'min_ram_gb' },
  min_storage_gb: { kind: 'numbers', column: 'min_storage_gb' },
  // Hyphens are no letters of SQL words; these never reach SQL.
  allowed_region_codes: { kind: 'words', column: 'allowed_region_codes', words: regionCodes },
  ignore_region_constraints: { kind: 'words', column: 'ignore_region_constraints', words: ['true', 'false'] },
};
const gib = 1024 ** 3;

export function offerRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.get(
    '/v1/compute/offers',
    {
      schema: {
        tags: ['GPU registry and offers'],
        summary: 'List what could be rented right now, cheapest first',
        description:
          'One offer for each node and GPU model with a free card; numbers filter by at least so much. With filter[gpu_count] the price is for that many cards, else for all that are free.',
        querystring: listQuerySchema(filters),
        response: { 200: OfferList },
      },
    },
    (request) => listOffers(request, deps),
  );
}

async function listOffers(request: FastifyRequest, deps: ApiDeps) {
  const caller = callerOf(request);
  requirePermission(caller, 'offers:read');
  const query = parseListQuery(withoutNulls(rawQueryOf(request)), filters);
  if (query.filters.some(isAdminOnly)) requirePermission(caller, 'cluster:admin');
  const capacity = await deps.capacity.read();
  const gpuCount = query.filters.map(gpuCountOf).find((count) => count !== null) ?? null;
  const offers = nodesOpenTo(capacity, caller.accountId, deps.trustTenants)
    .flatMap((node) => offersOf(node, capacity.prices, gpuCount))
    .filter((offer) => query.filters.every((filter) => matches(filter, offer)))
    .sort((a, b) => a.hourlyRateMicros - b.hourlyRateMicros || (a.nodeId < b.nodeId ? -1 : 1));
  const page = pageOf(query, offers).map((offer) => offerView(offer, capacity.readAtMs));
  return listOf(query, { items: [], total: offers.length, isTotalExact: true }, page);
}

/** The reference takes null for a filter of numbers: it asks for nothing. */
function withoutNulls(rawQuery: string): string {
  const isOfNumbers = (name: string) => filters[/^filter\[(.*)\]$/.exec(name)?.[1] ?? '']?.kind === 'numbers';
  const pairs = [...new URLSearchParams(rawQuery)];
  return String(new URLSearchParams(pairs.filter(([name, value]) => value !== 'null' || !isOfNumbers(name))));
}

function isAdminOnly(filter: Filter): boolean {
  return filter.column === 'ignore_region_constraints' && 'words' in filter && filter.words.includes('true');
}

function gpuCountOf(filter: Filter): number | null {
  return filter.column === 'gpu_count' && filter.kind === 'numbers' ? (filter.numbers[0] ?? null) : null;
}

function matches(filter: Filter, offer: FreeOffer): boolean {
  switch (filter.kind) {
    case 'numbers':
      return filter.column === 'gpu_count' || amountOf(filter.column, offer) >= Math.min(...filter.numbers);
    case 'number_range': {
      const amount = amountOf(filter.column, offer);
      return amount >= (filter.from ?? 0) && amount <= (filter.to ?? Number.POSITIVE_INFINITY);
    }
    case 'prefix':
      return (
        offer.gpuName !== null &&
        matchesGpuName(filter.prefix, { name: offer.gpuName, vramMib: offer.minVramGib * 1024 })
      );
    case 'uuids':
      return offer.registryUuid !== null && filter.uuids.includes(offer.registryUuid);
    case 'words':
      return (
        filter.column !== 'allowed_region_codes' ||
        (offer.regionCode !== null && filter.words.includes(offer.regionCode))
      );
    default:
      return true;
  }
}

/** GB are 10^9 bytes, as in a job's needs; VRAM as sold. */
function amountOf(column: string, offer: FreeOffer): number {
  const amounts: Record<string, number> = {
    cpu_count: offer.cpuFree,
    gpu_count: offer.gpuCount,
    min_vram_gb: offer.minVramGib,
    min_ram_gb: offer.ramFree / 1e9,
    min_storage_gb: offer.storageFree / 1e9,
  };
  return amounts[column] ?? 0;
}

function offerView(offer: FreeOffer, quotedAtMs: number): Offer {
  const { gpuName, registryUuid, minVramGib, gpuCount } = offer;
  return {
    object: 'compute_offer',
    offer_id: `${offer.nodeId}:${registryUuid ?? gpuName ?? 'cpu'}`,
    availability: {
      gpu_count: offer.freeGpuCount,
      gpu_count_total: offer.totalGpuCount,
      cpu_cores: offer.cpuFree,
    },
    hardware_summary: {
      cpu_cores: offer.cpuFree,
      gpu_count: gpuCount,
      gpu_model_label: gpuName,
      gpu_models:
        gpuName === null
          ? []
          : [{ count: gpuCount, gpu_registry_uuid: registryUuid, min_vram_gib: minVramGib, name: gpuName }],
      gpu_registry_uuid: registryUuid,
      min_gpu_vram_gib: minVramGib,
      ram_gib: roundTenth(offer.ramFree / gib),
      storage_gib: roundTenth(offer.storageFree / gib),
    },
    pricing: { hourly_rate_usd: toUsd(offer.hourlyRateMicros), quoted_at: timestamp(quotedAtMs) },
    region_code: offer.regionCode,
  };
}

function roundTenth(value: number): number {
  return Math.round(value * 10) / 10;
}
