// Wire shapes of users: people of an account, with the role that bounds what their keys may do.
import Type, { type Static } from 'typebox';
import { permissions } from './api-key.ts';
import { ListOf } from './list.ts';
import { Nullable, NullableWords, Timestamp, Uuid, Words } from './schema.ts';

export const userRoles = ['admin', 'consumer', 'operator'] as const;
export type UserRole = (typeof userRoles)[number];

const Email = Type.String({
  title: 'an e-mail address',
  pattern: '^[^\\s@\\x00-\\x1f]+@[^\\s@\\x00-\\x1f]+$',
  maxLength: 254,
  description: 'an e-mail address, unique in the account whatever its case',
});
const Role = Words(userRoles, { description: 'bounds what every key of the user may do' });

/** Body of `POST /v1/users`. */
export const CreateUserBody = Type.Object(
  {
    email: Email,
    role: Type.Optional(Words(userRoles, { description: 'default consumer' })),
    account_uuid: Type.Optional(
      Nullable(
        Type.String({
          maxLength: 36,
          description: "another account, by the cluster's admin; default: yours",
        }),
      ),
    ),
  },
  { additionalProperties: false },
);
export type CreateUserBody = Static<typeof CreateUserBody>;

/** Body of `PUT /v1/users/{uuid}`. */
export const UpdateUserBody = Type.Object(
  { email: Type.Optional(Email), role: Type.Optional(Role) },
  { additionalProperties: false },
);
export type UpdateUserBody = Static<typeof UpdateUserBody>;

export const User = Type.Object({
  object: Type.Literal('user'),
  uuid: Uuid,
  account_uuid: Uuid,
  email: Type.String(),
  role: Role,
  removed_at: Nullable(Timestamp),
  created_at: Timestamp,
});
export type User = Static<typeof User>;
export const UserList = ListOf(User);

/** Who signed the request. A key that belongs to no user stands for its account: `uuid` is the account's then. */
export const Me = Type.Object({
  object: Type.Literal('user'),
  uuid: Uuid,
  email: Nullable(Type.String({ description: "null: the key is the account's own" })),
  role: NullableWords(userRoles, { description: "null: the key is the account's own" }),
  account: Type.Object({ uuid: Uuid, name: Type.String() }),
  account_uuid: Uuid,
  account_name: Type.String(),
  api_key_uuid: Uuid,
  permissions: Type.Array(Words(permissions)),
});
export type Me = Static<typeof Me>;
