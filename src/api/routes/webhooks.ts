// Routes of webhooks: where an account's events are delivered, what became of deliveries, and sending them again.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import type { Sql } from '../../db/database.ts';
import { claimNonce } from '../../db/nonces.ts';
import {
  createTestDelivery,
  type DeliveryRecord,
  listDeliveries,
  redeliver,
} from '../../db/webhook-deliveries.ts';
import {
  createWebhook,
  deleteWebhook,
  getWebhook,
  listWebhooks,
  updateWebhook,
  type WebhookRecord,
  webhookOwner,
} from '../../db/webhooks.ts';
import { eventView } from '../../protocol/event-view.ts';
import { Uuid, uuidPattern } from '../../protocol/schema.ts';
import {
  CreateWebhookBody,
  deliveryStatuses,
  UpdateWebhookBody,
  Webhook,
  WebhookDelivery,
  WebhookDeliveryList,
  WebhookList,
} from '../../protocol/webhook.ts';
import { actorOf, type Caller, callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { ApiError, nonceReused, notFound, validationFailed } from '../errors.ts';
import { timestamp } from '../job-view.ts';
import { type FilterRules, parseListQuery } from '../list-query.ts';
import { listOf, listQuerySchema, rawQueryOf, refuseQuery, uuidOf, uuidParams } from '../route-parts.ts';
import { bodyCheck } from '../validate.ts';

const hookFilters: FilterRules = { created_at: { kind: 'times', column: 'w.created_at' } };
const deliveryFilters: FilterRules = {
  status: { kind: 'words', column: 'd.status', words: deliveryStatuses },
  created_at: { kind: 'times', column: 'd.created_at' },
};
const createCheck = bodyCheck(CreateWebhookBody);
const updateCheck = bodyCheck(UpdateWebhookBody);
const NoFields = Type.Object({}, { additionalProperties: false });
const emptyCheck = bodyCheck(NoFields);
const deliveryParams = Type.Object({ uuid: Uuid, delivery_uuid: Uuid });
const tags = ['Webhooks'];
const secretLength = 40;
const maxWebhooks = 20;

export function webhookRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.post(
    '/v1/webhooks',
    {
      schema: {
        tags,
        summary: 'Make a webhook; its secret is shown once',
        description:
          'Events are POSTed as JSON. Flotilla-Signature: t=<seconds>,v1=<HMAC-SHA256 of "<seconds>.<body>" under the secret, hex>. ' +
          'Flotilla-Delivery stays the same over retries. A status of 2xx is delivered; all else is tried again for a day.',
        body: CreateWebhookBody,
        response: { 201: Webhook },
      },
    },
    async (request, reply) => reply.code(201).send(await create(request, deps)),
  );
  app.get(
    '/v1/webhooks',
    {
      schema: {
        tags,
        summary: 'List webhooks, newest first',
        querystring: listQuerySchema(hookFilters),
        response: { 200: WebhookList },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'webhooks:read');
      const query = parseListQuery(rawQueryOf(request), hookFilters);
      const result = await listWebhooks(deps.database, { ...query, accountId: caller.accountId });
      return listOf(query, result, result.items.map(webhookView));
    },
  );
  app.get(
    '/v1/webhooks/:uuid',
    { schema: { tags, summary: 'Get a webhook', params: uuidParams, response: { 200: Webhook } } },
    async (request) => webhookView(await requireWebhook(request, deps, 'webhooks:read')),
  );
  app.put(
    '/v1/webhooks/:uuid',
    {
      schema: {
        tags,
        summary: 'Change, enable or disable a webhook, or rotate its secret',
        params: uuidParams,
        body: UpdateWebhookBody,
        response: { 200: Webhook },
      },
    },
    (request) => update(request, deps),
  );
  app.delete(
    '/v1/webhooks/:uuid',
    {
      schema: {
        tags,
        summary: 'Delete a webhook with its deliveries',
        params: uuidParams,
        response: { 200: Webhook },
      },
    },
    (request) => remove(request, deps),
  );
  deliveryRoutes(app, deps);
}

function deliveryRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.post(
    '/v1/webhooks/:uuid/test',
    {
      schema: {
        tags,
        summary: 'Send a test event now; what became of it is in the deliveries',
        params: uuidParams,
        body: NoFields,
        response: { 201: WebhookDelivery },
      },
    },
    async (request, reply) => reply.code(201).send(await sendTest(request, deps)),
  );
  app.get(
    '/v1/webhooks/:uuid/deliveries',
    {
      schema: {
        tags,
        summary: 'List the deliveries of a webhook, newest first',
        params: uuidParams,
        querystring: listQuerySchema(deliveryFilters),
        response: { 200: WebhookDeliveryList },
      },
    },
    async (request) => {
      const { id } = await requireWebhook(request, deps, 'webhooks:read');
      const query = parseListQuery(rawQueryOf(request), deliveryFilters);
      const result = await listDeliveries(deps.database, { ...query, webhookId: id });
      return listOf(query, result, result.items.map(deliveryView));
    },
  );
  app.post(
    '/v1/webhooks/:uuid/deliveries/:delivery_uuid/redeliver',
    {
      schema: {
        tags,
        summary: 'Send a delivery again, under the same delivery id',
        params: deliveryParams,
        body: NoFields,
        response: { 200: WebhookDelivery },
      },
    },
    (request) => sendAgain(request, deps),
  );
}

async function create(request: FastifyRequest, deps: ApiDeps): Promise<Webhook> {
  const caller = callerOf(request);
  requirePermission(caller, 'webhooks:write');
  refuseQuery(request);
  const body = createCheck.parse(request.body);
  checkUrl(body.url, deps);
  const id = deps.newId();
  const secret = newSecret(deps);
  const sealedSecret = deps.vault.seal(secret, webhookOwner(id));
  const { accountId } = caller;
  const webhook = {
    id,
    accountId,
    name: body.name ?? '',
    url: body.url,
    kinds: body.kinds ?? [],
    sealedSecret,
  };
  const created = await once(caller, deps, (sql) => createWebhook(sql, webhook, maxWebhooks));
  if (created === null)
    throw new ApiError('conflict', `An account has at most ${maxWebhooks} webhooks; delete one first.`);
  return { ...webhookView(created), secret };
}

async function update(request: FastifyRequest, deps: ApiDeps): Promise<Webhook> {
  const { id, accountId } = await requireWebhook(request, deps, 'webhooks:write');
  refuseQuery(request);
  const {
    name,
    url,
    kinds,
    is_enabled: isEnabled,
    rotate_secret: isRotation,
  } = updateCheck.parse(request.body);
  if (url !== undefined) checkUrl(url, deps);
  const secret = isRotation === true ? newSecret(deps) : undefined;
  const change = {
    ...(name === undefined ? {} : { name }),
    ...(url === undefined ? {} : { url }),
    ...(kinds === undefined ? {} : { kinds }),
    ...(isEnabled === undefined ? {} : { isEnabled }),
    ...(secret === undefined ? {} : { sealedSecret: deps.vault.seal(secret, webhookOwner(id)) }),
  };
  const updated = await once(callerOf(request), deps, (sql) => updateWebhook(sql, { id, accountId }, change));
  if (updated === null) throw notFound('webhook');
  deps.hints.publish({ kind: 'event' });
  return { ...webhookView(updated), ...(secret === undefined ? {} : { secret }) };
}

async function remove(request: FastifyRequest, deps: ApiDeps): Promise<Webhook> {
  const { id, accountId } = await requireWebhook(request, deps, 'webhooks:write');
  refuseQuery(request);
  const removed = await once(callerOf(request), deps, (sql) => deleteWebhook(sql, { id, accountId }));
  if (removed === null) throw notFound('webhook');
  return webhookView(removed);
}

async function sendTest(request: FastifyRequest, deps: ApiDeps): Promise<WebhookDelivery> {
  const webhook = await requireWebhook(request, deps, 'webhooks:write');
  emptyCheck.parse(request.body ?? {});
  requireEnabled(webhook);
  const caller = callerOf(request);
  const kind = 'webhook_test';
  const body = JSON.stringify(
    eventView({
      ...{ id: 0, kind, jobId: null, runId: null, fromStatus: null, toStatus: null },
      ...{ actor: actorOf(caller), detail: { webhook_uuid: webhook.id }, createdAtMs: deps.now() },
    }),
  );
  const delivery = { id: deps.newId(), webhookId: webhook.id, kind, body };
  const made = await once(caller, deps, (sql) => createTestDelivery(sql, delivery));
  deps.hints.publish({ kind: 'event' });
  return deliveryView(made);
}

async function sendAgain(request: FastifyRequest, deps: ApiDeps): Promise<WebhookDelivery> {
  const webhook = await requireWebhook(request, deps, 'webhooks:write');
  const { delivery_uuid: id = '' } = request.params as { delivery_uuid?: string };
  if (!new RegExp(uuidPattern).test(id)) throw notFound('delivery');
  emptyCheck.parse(request.body ?? {});
  requireEnabled(webhook);
  const sent = await once(callerOf(request), deps, (sql) => redeliver(sql, { id, webhookId: webhook.id }));
  if (sent === null) throw notFound('delivery');
  deps.hints.publish({ kind: 'event' });
  return deliveryView(sent);
}

async function once<T>(caller: Caller, deps: ApiDeps, work: (sql: Sql) => Promise<T>): Promise<T> {
  return deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    return work(sql);
  });
}

async function requireWebhook(
  request: FastifyRequest,
  deps: ApiDeps,
  permission: 'webhooks:read' | 'webhooks:write',
): Promise<WebhookRecord> {
  const caller = callerOf(request);
  requirePermission(caller, permission);
  const id = uuidOf(request, 'webhook');
  const webhook = await getWebhook(deps.database, { id, accountId: caller.accountId });
  if (webhook === null) throw notFound('webhook');
  return webhook;
}

function requireEnabled({ isEnabled }: WebhookRecord): void {
  if (!isEnabled) throw new ApiError('conflict', 'The webhook is disabled; enable it first.');
}

function checkUrl(url: string, { webhookUrlProblem }: ApiDeps): void {
  const expected = webhookUrlProblem(url);
  if (expected !== null) throw validationFailed([{ path: 'url', expected, received: url.slice(0, 80) }]);
}

function newSecret({ newToken }: ApiDeps): string {
  return `whsec_${newToken(secretLength)}`;
}

function webhookView(webhook: WebhookRecord): Webhook {
  return {
    object: 'webhook',
    uuid: webhook.id,
    name: webhook.name,
    url: webhook.url,
    kinds: webhook.kinds,
    is_enabled: webhook.isEnabled,
    disabled_reason: webhook.disabledReason,
    failing_since: webhook.failingSinceMs === null ? null : timestamp(webhook.failingSinceMs),
    created_at: timestamp(webhook.createdAtMs),
    updated_at: timestamp(webhook.updatedAtMs),
  };
}

function deliveryView(delivery: DeliveryRecord): WebhookDelivery {
  const { status, lastAttemptAtMs } = delivery;
  return {
    object: 'webhook_delivery',
    uuid: delivery.id,
    webhook_uuid: delivery.webhookId,
    event_id: delivery.eventId,
    kind: delivery.kind,
    status,
    attempt_count: delivery.attemptCount,
    next_attempt_at: status === 'pending' ? timestamp(delivery.nextAttemptAtMs) : null,
    last_attempt_at: lastAttemptAtMs === null ? null : timestamp(lastAttemptAtMs),
    response_status: delivery.responseStatus,
    response_excerpt: delivery.responseExcerpt,
    error: delivery.error,
    created_at: timestamp(delivery.createdAtMs),
  };
}
