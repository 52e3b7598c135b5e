// Wire shapes of the GPU registry: the known models, their memory and price; and the rates of what has no model.
import Type, { type Static } from 'typebox';
import { ListOf } from './list.ts';
import { Nullable, Timestamp, Uuid } from './schema.ts';

const Name = Type.String({ minLength: 1, maxLength: 128, pattern: '^[^\\u0000-\\u001f]*$' });
const Rate = Type.Number({ minimum: 0, maximum: 100_000, description: 'US dollars an hour' });
const Vram = Type.Number({ minimum: 0.1, maximum: 100_000, description: 'GB as sold' });

export const GpuRegistryEntry = Type.Object({
  object: Type.Literal('gpu_registry_entry'),
  uuid: Uuid,
  vendor: Type.String(),
  name: Type.String(),
  aliases: Type.Array(Type.String()),
  vram_gb: Type.Number({ description: 'GB as sold' }),
  hourly_rate_usd: Nullable(Type.Number({ description: 'of one card; null: no price is set' })),
  price_source: Nullable(Type.String({ description: 'null: an admin set it, or there is none' })),
  is_discovered: Type.Boolean({ description: 'seen on a node before anybody described it' }),
  total_count: Type.Integer({ description: 'cards of this model on nodes you may use' }),
  available_count: Type.Integer({ description: 'those free now' }),
  created_at: Timestamp,
  updated_at: Timestamp,
});
export type GpuRegistryEntry = Static<typeof GpuRegistryEntry>;
export const GpuRegistryList = ListOf(GpuRegistryEntry);

const aliases = Type.Optional(Nullable(Type.Array(Name, { maxItems: 32, uniqueItems: true })));

/** Body of `POST /v1/gpu-registry`. */
export const CreateGpuRegistryBody = Type.Object(
  {
    vendor: Name,
    name: Name,
    aliases,
    vram_gb: Vram,
    hourly_rate_usd: Type.Optional(Nullable(Rate)),
  },
  { additionalProperties: false },
);
export type CreateGpuRegistryBody = Static<typeof CreateGpuRegistryBody>;

/** Body of `PUT /v1/gpu-registry/{uuid}`: what is absent stays; `hourly_rate_usd: null` takes the price away. */
export const UpdateGpuRegistryBody = Type.Object(
  {
    vendor: Type.Optional(Name),
    name: Type.Optional(Name),
    aliases,
    vram_gb: Type.Optional(Vram),
    hourly_rate_usd: Type.Optional(Nullable(Rate)),
  },
  { additionalProperties: false },
);
export type UpdateGpuRegistryBody = Static<typeof UpdateGpuRegistryBody>;

/** US dollars an hour of what the registry has no price for. */
export const RatesBody = Type.Object(
  {
    unpriced_gpu_usd: Rate,
    cpu_usd: Type.Number({ ...Rate, description: 'of one CPU of a run without GPU' }),
    ram_gb_usd: Type.Number({ ...Rate, description: 'of one GB of RAM of a run without GPU' }),
  },
  { additionalProperties: false },
);
export type RatesBody = Static<typeof RatesBody>;
export const RateCard = Type.Object({ object: Type.Literal('rates'), ...RatesBody.properties });
export type RateCard = Static<typeof RateCard>;
