// Wire shapes of API keys: made once, the secret shown once.
import Type, { type Static } from 'typebox';
import { ListOf } from './list.ts';
import { Nullable, Timestamp, Uuid, Words } from './schema.ts';

export const keyPresets = ['admin', 'consumer', 'operator', 'node'] as const;
export type KeyPreset = (typeof keyPresets)[number];

export const permissions = [
  'jobs:create',
  'jobs:read',
  'jobs:cancel',
  'jobs:exec',
  'jobs:prioritize',
  'nodes:read',
  'nodes:write',
  'keys:read',
  'keys:write',
  'offers:read',
  'recipes:read',
  'recipes:write',
  'ledger:read',
  'webhooks:read',
  'webhooks:write',
  'users:read',
  'users:write',
  'audit:read',
  // What concerns every account: the GPU registry, prices, other accounts and their credits.
  'cluster:admin',
] as const;
export type Permission = (typeof permissions)[number];

const Name = Nullable(Type.String({ maxLength: 128 }));
const ExpiresAt = Nullable(
  Type.String({ maxLength: 64, description: "RFC 3339; absent: when the maker's own key does, or never" }),
);
const AllowedIps = Nullable(
  Type.Array(Type.String({ maxLength: 64 }), {
    maxItems: 256,
    description: "addresses or CIDR; absent or empty: those of the maker's own key, or any",
  }),
);
const RateLimit = Nullable(
  Type.Number({ minimum: 0.01, maximum: 1_000_000, description: "absent: the cluster's; Stop is exempt" }),
);
const Reference = Nullable(Type.String({ maxLength: 36 }));

/** Body of `POST /v1/api-keys`. */
export const CreateApiKeyBody = Type.Object(
  {
    name: Type.Optional(Name),
    preset: Type.Optional(Words(keyPresets)),
    permissions: Type.Optional(Nullable(Type.Array(Words(permissions), { uniqueItems: true }))),
    expires_at: Type.Optional(ExpiresAt),
    allowed_ips: Type.Optional(AllowedIps),
    rate_limit_per_second: Type.Optional(RateLimit),
    user_uuid: Type.Optional(Reference),
    account_uuid: Type.Optional(Reference),
  },
  { additionalProperties: false },
);
export type CreateApiKeyBody = Static<typeof CreateApiKeyBody>;

/** Body of `PUT /v1/api-keys/{uuid}`: what is absent stays as it is. */
export const UpdateApiKeyBody = Type.Object(
  {
    name: Type.Optional(Name),
    permissions: Type.Optional(Type.Array(Words(permissions), { uniqueItems: true })),
    expires_at: Type.Optional(ExpiresAt),
    allowed_ips: Type.Optional(AllowedIps),
    rate_limit_per_second: Type.Optional(RateLimit),
  },
  { additionalProperties: false },
);
export type UpdateApiKeyBody = Static<typeof UpdateApiKeyBody>;

/** Body of `POST /v1/api-keys/{uuid}/rotate`. */
export const RotateApiKeyBody = Type.Object(
  {
    overlap_ms: Type.Optional(
      Nullable(
        Type.Integer({
          minimum: 0,
          maximum: 30 * 86_400_000,
          description: 'how long the old secret still works; absent: not at all',
        }),
      ),
    ),
  },
  { additionalProperties: false },
);
export type RotateApiKeyBody = Static<typeof RotateApiKeyBody>;

export const ApiKey = Type.Object({
  object: Type.Literal('api_key'),
  uuid: Uuid,
  account_uuid: Uuid,
  user_uuid: Nullable(Uuid),
  name: Type.String(),
  preset: Words(keyPresets),
  permissions: Type.Array(Words(permissions)),
  public_key: Type.String(),
  node_uuid: Nullable(Uuid),
  allowed_ips: Type.Array(Type.String()),
  rate_limit_per_second: Nullable(Type.Number()),
  expires_at: Nullable(Timestamp),
  revoked_at: Nullable(Timestamp),
  previous_secret_until: Nullable(Timestamp),
  created_at: Timestamp,
});
export type ApiKey = Static<typeof ApiKey>;
export const ApiKeyList = ListOf(ApiKey);

export const CreatedApiKey = Type.Object({ ...ApiKey.properties, secret_key: Type.String() });
export type CreatedApiKey = Static<typeof CreatedApiKey>;
