// Wire shapes of webhooks and of their deliveries.
import Type, { type Static } from 'typebox';
import { ListOf } from './list.ts';
import { Nullable, Timestamp, Uuid, Words } from './schema.ts';

const Url = Type.String({
  minLength: 1,
  maxLength: 2048,
  description: 'https; a private address needs the operator’s permission',
});
const Name = Type.String({ maxLength: 128 });
const Kinds = Type.Array(Type.String({ minLength: 1, maxLength: 64, pattern: '^[a-z_]+$' }), {
  maxItems: 64,
  uniqueItems: true,
  description: 'of the events to deliver; empty: all',
});

/** Body of `POST /v1/webhooks`. */
export const CreateWebhookBody = Type.Object(
  { url: Url, name: Type.Optional(Nullable(Name)), kinds: Type.Optional(Nullable(Kinds)) },
  { additionalProperties: false },
);
export type CreateWebhookBody = Static<typeof CreateWebhookBody>;

/** Body of `PUT /v1/webhooks/{uuid}`: what is absent stays. */
export const UpdateWebhookBody = Type.Object(
  {
    url: Type.Optional(Url),
    name: Type.Optional(Name),
    kinds: Type.Optional(Kinds),
    is_enabled: Type.Optional(Type.Boolean({ description: 'enabling begins with the events from now on' })),
    rotate_secret: Type.Optional(Type.Boolean({ description: 'the answer shows the new secret, once' })),
  },
  { additionalProperties: false },
);
export type UpdateWebhookBody = Static<typeof UpdateWebhookBody>;

export const Webhook = Type.Object({
  object: Type.Literal('webhook'),
  uuid: Uuid,
  name: Type.String(),
  url: Type.String(),
  kinds: Type.Array(Type.String()),
  is_enabled: Type.Boolean(),
  disabled_reason: Nullable(Type.String()),
  failing_since: Nullable(Timestamp),
  created_at: Timestamp,
  updated_at: Timestamp,
  secret: Type.Optional(Type.String({ description: 'only when it is made' })),
});
export type Webhook = Static<typeof Webhook>;
export const WebhookList = ListOf(Webhook);

export const deliveryStatuses = ['pending', 'delivered', 'failed'] as const;
export type DeliveryStatus = (typeof deliveryStatuses)[number];

export const WebhookDelivery = Type.Object({
  object: Type.Literal('webhook_delivery'),
  uuid: Uuid,
  webhook_uuid: Uuid,
  event_id: Nullable(Type.Integer({ description: 'null: a test' })),
  kind: Type.String(),
  status: Words(deliveryStatuses),
  attempt_count: Type.Integer(),
  next_attempt_at: Nullable(Timestamp),
  last_attempt_at: Nullable(Timestamp),
  response_status: Nullable(Type.Integer()),
  response_excerpt: Nullable(Type.String({ description: 'its first bytes' })),
  error: Nullable(Type.String()),
  created_at: Timestamp,
});
export type WebhookDelivery = Static<typeof WebhookDelivery>;
export const WebhookDeliveryList = ListOf(WebhookDelivery);
