// Wire shapes of billing: who pays in advance, and what node operators earn an hour.
import Type, { type Static } from 'typebox';
import { Nullable } from './schema.ts';

const Rate = (description: string) =>
  Type.Number({ minimum: 0, maximum: 1_000_000, description: `US dollars an hour ${description}` });

export const BillingSettings = Type.Object({
  object: Type.Literal('billing_settings'),
  prepaid: Type.Boolean({ description: 'accounts pay in advance, unless their own setting says otherwise' }),
  node_available_usd: Rate('for a node that could take work'),
  node_prepared_usd: Rate('for a node that fetches images and volumes'),
  node_worked_usd: Rate('for a node on which a container runs'),
});
export type BillingSettings = Static<typeof BillingSettings>;

const { object: _, ...settings } = BillingSettings.properties;

/** Body of `PUT /v1/compute/billing`: what is absent stays. */
export const BillingBody = Type.Partial(Type.Object(settings), { additionalProperties: false });
export type BillingBody = Static<typeof BillingBody>;

/** Body of `PUT /v1/accounts/{uuid}/prepaid`. */
export const PrepaidBody = Type.Object(
  { prepaid: Nullable(Type.Boolean({ description: "null: as the cluster's setting says" })) },
  { additionalProperties: false },
);
export type PrepaidBody = Static<typeof PrepaidBody>;
