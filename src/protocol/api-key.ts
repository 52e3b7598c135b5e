// Wire shapes of API keys: made once, the secret shown once.
import Type, { type Static } from 'typebox';
import { ListOf } from './list.ts';
import { Nullable, Timestamp, Uuid, Words } from './schema.ts';

export const keyPresets = ['admin', 'consumer', 'node'] as const;
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
  // What concerns every account: the GPU registry, prices, other accounts and their credits.
  'cluster:admin',
] as const;
export type Permission = (typeof permissions)[number];

/** Body of `POST /v1/api-keys`. */
export const CreateApiKeyBody = Type.Object(
  {
    name: Type.Optional(Nullable(Type.String({ maxLength: 128 }))),
    preset: Type.Optional(Words(keyPresets)),
    permissions: Type.Optional(Nullable(Type.Array(Words(permissions), { uniqueItems: true }))),
    expires_at: Type.Optional(
      Nullable(Type.String({ maxLength: 64, description: 'RFC 3339; absent: never expires' })),
    ),
    allowed_ips: Type.Optional(
      Nullable(
        Type.Array(Type.String({ maxLength: 64 }), {
          maxItems: 256,
          description: 'CIDR; absent or empty: any',
        }),
      ),
    ),
  },
  { additionalProperties: false },
);
export type CreateApiKeyBody = Static<typeof CreateApiKeyBody>;

export const ApiKey = Type.Object({
  object: Type.Literal('api_key'),
  uuid: Uuid,
  name: Type.String(),
  preset: Words(keyPresets),
  permissions: Type.Array(Words(permissions)),
  public_key: Type.String(),
  node_uuid: Nullable(Uuid),
  allowed_ips: Type.Array(Type.String()),
  expires_at: Nullable(Timestamp),
  revoked_at: Nullable(Timestamp),
  created_at: Timestamp,
});
export type ApiKey = Static<typeof ApiKey>;
export const ApiKeyList = ListOf(ApiKey);

export const CreatedApiKey = Type.Object({ ...ApiKey.properties, secret_key: Type.String() });
export type CreatedApiKey = Static<typeof CreatedApiKey>;
