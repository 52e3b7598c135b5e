// Wire shapes of signing in: the key set, what a session is bought with, and the tokens it gives.
import Type, { type Static } from 'typebox';
import { permissions } from './api-key.ts';
import { ListOf } from './list.ts';
import { Nullable, Timestamp, Uuid, Words } from './schema.ts';

/** Public keys of access tokens (RFC 7517). */
export const JwkSet = Type.Object({
  keys: Type.Array(
    Type.Object({
      kty: Type.String(),
      crv: Type.String(),
      x: Type.String(),
      y: Type.String(),
      kid: Type.String(),
      alg: Type.String(),
      use: Type.String(),
    }),
  ),
});
export type JwkSet = Static<typeof JwkSet>;

/** Body of `POST /v1/sign-in`, which the key signs. */
export const SignInBody = Type.Object(
  {
    permissions: Type.Optional(
      Nullable(
        Type.Array(Words(permissions), {
          uniqueItems: true,
          description: 'fewer than the key has; absent: all of them',
        }),
      ),
    ),
  },
  { additionalProperties: false },
);
export type SignInBody = Static<typeof SignInBody>;

const Secret = Type.String({ minLength: 1, maxLength: 512 });

/** Body of `POST /v1/sign-in/refresh`. */
export const RefreshBody = Type.Object({ refresh_token: Secret }, { additionalProperties: false });
export type RefreshBody = Static<typeof RefreshBody>;

/** Body of `POST /v1/sign-out`; without a refresh token the access token in Authorization names the session. */
export const SignOutBody = Type.Object(
  { refresh_token: Type.Optional(Secret) },
  { additionalProperties: false },
);
export type SignOutBody = Static<typeof SignOutBody>;

/** Body of `POST /v1/sign-in/oidc/token`: the code that came back, and what its challenge was made of (RFC 7636). */
export const OidcTokenBody = Type.Object(
  { code: Secret, code_verifier: Type.String({ minLength: 43, maxLength: 128 }) },
  { additionalProperties: false },
);
export type OidcTokenBody = Static<typeof OidcTokenBody>;

export const SessionTokens = Type.Object({
  object: Type.Literal('session_tokens'),
  session_uuid: Uuid,
  account_uuid: Uuid,
  token_type: Type.Literal('Bearer'),
  access_token: Type.String({ description: 'JWT; its hmac_key claim signs requests' }),
  expires_at: Timestamp,
  refresh_token: Type.String({ description: 'works once' }),
  refresh_expires_at: Timestamp,
  permissions: Type.Array(Words(permissions)),
});
export type SessionTokens = Static<typeof SessionTokens>;

export const SignedOut = Type.Object({ object: Type.Literal('signed_out') });
export type SignedOut = Static<typeof SignedOut>;

/** One sign-in: with a key, or as an identity that a provider vouches for. */
export const Session = Type.Object({
  object: Type.Literal('session'),
  uuid: Uuid,
  account_uuid: Uuid,
  api_key_uuid: Nullable(Uuid),
  identity_uuid: Nullable(Uuid),
  issuer: Nullable(Type.String()),
  subject: Nullable(Type.String()),
  email: Nullable(Type.String()),
  permissions: Type.Array(Type.String()),
  address: Type.String({ description: 'where it was begun' }),
  created_at: Timestamp,
  expires_at: Timestamp,
  revoked_at: Nullable(Timestamp),
  revoked_reason: Nullable(Type.String()),
});
export type Session = Static<typeof Session>;
export const SessionList = ListOf(Session);
