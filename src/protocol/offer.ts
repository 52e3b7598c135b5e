// Wire shapes of offers (reference: offers page) and of a dry run: what could be had now, and at what price.
import Type, { type Static } from 'typebox';
import { ListOf } from './list.ts';
import { Nullable, Timestamp, Uuid } from './schema.ts';

export const Offer = Type.Object({
  object: Type.Literal('compute_offer'),
  offer_id: Type.String({ description: 'the node and the model; the same while both are there' }),
  availability: Type.Object({
    gpu_count: Type.Integer({ description: 'cards of this model that are free' }),
    gpu_count_total: Type.Integer(),
    cpu_cores: Type.Number({ description: 'free' }),
  }),
  hardware_summary: Type.Object({
    cpu_cores: Type.Number(),
    gpu_count: Type.Integer({
      description: 'what the price is for: filter[gpu_count], else all that are free',
    }),
    gpu_model_label: Nullable(Type.String()),
    gpu_models: Type.Array(
      Type.Object({
        count: Type.Integer(),
        gpu_registry_uuid: Nullable(Uuid),
        min_vram_gib: Type.Number(),
        name: Type.String(),
      }),
    ),
    gpu_registry_uuid: Nullable(Uuid),
    min_gpu_vram_gib: Type.Number(),
    ram_gib: Type.Number(),
    storage_gib: Type.Number(),
  }),
  pricing: Type.Object({ hourly_rate_usd: Type.Number(), quoted_at: Timestamp }),
  region_code: Nullable(Type.String()),
});
export type Offer = Static<typeof Offer>;
export const OfferList = ListOf(Offer);

/** Answer of `POST /v1/jobs?dry_run=true`: nothing was created. */
export const JobDryRun = Type.Object({
  object: Type.Literal('job_dry_run'),
  would_start_now: Type.Boolean(),
  hourly_rate_usd: Nullable(Type.Number({ description: 'of the first candidate' })),
  candidate_count: Type.Integer(),
  candidates: Type.Array(
    Type.Object({
      node_uuid: Uuid,
      region_code: Nullable(Type.String()),
      gpus: Type.Array(Type.Object({ name: Type.String(), gpu_registry_uuid: Nullable(Uuid) })),
      hourly_rate_usd: Type.Number(),
    }),
    { description: 'at most 20; the node it would get comes first, then the cheapest' },
  ),
  excluded: Type.Record(Type.String(), Type.Integer(), {
    description: 'nodes by the first thing that excludes each',
  }),
  nodes_considered: Type.Integer(),
  message: Nullable(
    Type.String({ description: 'why it would wait, and the smallest change that would help' }),
  ),
});
export type JobDryRun = Static<typeof JobDryRun>;
