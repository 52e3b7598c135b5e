// Wire shapes of accounts: owners of jobs, recipes, keys, nodes and credits.
import Type, { type Static } from 'typebox';
import { ListOf } from './list.ts';
import { Timestamp, Uuid } from './schema.ts';

/** Body of `POST /v1/accounts`. */
export const CreateAccountBody = Type.Object(
  { name: Type.String({ minLength: 1, maxLength: 128 }) },
  { additionalProperties: false },
);
export type CreateAccountBody = Static<typeof CreateAccountBody>;

export const Account = Type.Object({
  object: Type.Literal('account'),
  uuid: Uuid,
  name: Type.String(),
  created_at: Timestamp,
});
export type Account = Static<typeof Account>;
export const AccountList = ListOf(Account);
