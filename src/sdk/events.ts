// The parts of the client for what happens: events as they come, and webhooks.
import type { Event } from '../protocol/event.ts';
import type { ListEnvelope } from '../protocol/list.ts';
import type { CreateWebhookBody, UpdateWebhookBody, Webhook, WebhookDelivery } from '../protocol/webhook.ts';
import type { CallOptions } from './call.ts';
import { followStream, type StreamMessage, streamOpener } from './event-stream.ts';
import type { FilesCaller } from './files.ts';
import type { ListQuery } from './query.ts';

type Send = <T>(method: string, path: string, options?: CallOptions) => Promise<T>;

export type FollowEventsOptions = {
  /** Resumes after this one: `lastId` of an event that was given. */
  lastId?: string | undefined;
  signal?: AbortSignal | undefined;
};

/** An event, and the id to resume after it with. */
export type FollowedEvent = Event & { lastId: string };

/** Every event once, through restarts of the server of at most a minute; it ends when `signal` aborts or you stop. */
export async function* followEvents(
  caller: FilesCaller,
  path: string,
  options: FollowEventsOptions = {},
): AsyncGenerator<FollowedEvent, void> {
  for await (const { id, event, data } of followPath(caller, path, options))
    if (event === 'message' && id !== undefined) yield { ...(JSON.parse(data) as Event), lastId: id };
}

export function followPath(
  caller: FilesCaller,
  path: string,
  { lastId, signal }: FollowEventsOptions = {},
): AsyncGenerator<StreamMessage, void> {
  const open = streamOpener(caller, path, signal);
  return followStream({ edge: caller.edge, signal, open, origin: caller.url.origin }, lastId);
}

export function webhooksOf(send: Send) {
  const path = (uuid: string) => `/v1/webhooks/${encodeURIComponent(uuid)}`;
  return {
    /** The secret that signs is in this answer alone. */
    create: (body: CreateWebhookBody) => send<Webhook>('POST', '/v1/webhooks', { body }),
    list: (query: ListQuery = {}) => send<ListEnvelope<Webhook>>('GET', '/v1/webhooks', { query }),
    get: (uuid: string) => send<Webhook>('GET', path(uuid)),
    update: (uuid: string, body: UpdateWebhookBody) => send<Webhook>('PUT', path(uuid), { body }),
    delete: (uuid: string) => send<Webhook>('DELETE', path(uuid)),
    test: (uuid: string) => send<WebhookDelivery>('POST', `${path(uuid)}/test`, { body: {} }),
    deliveries: (uuid: string, query: ListQuery = {}) =>
      send<ListEnvelope<WebhookDelivery>>('GET', `${path(uuid)}/deliveries`, { query }),
    redeliver: (uuid: string, deliveryUuid: string) =>
      send<WebhookDelivery>(
        'POST',
        `${path(uuid)}/deliveries/${encodeURIComponent(deliveryUuid)}/redeliver`,
        {
          body: {},
        },
      ),
  };
}
