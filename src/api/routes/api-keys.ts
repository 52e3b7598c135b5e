// Routes of API keys: create, list, revoke.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type ApiKeyRecord, createApiKey, listApiKeys, revokeApiKey } from '../../db/api-keys.ts';
import { publishWith } from '../../db/hints.ts';
import { claimNonce } from '../../db/nonces.ts';
import {
  ApiKey,
  ApiKeyList,
  CreateApiKeyBody,
  CreatedApiKey,
  type KeyPreset,
  type Permission,
} from '../../protocol/api-key.ts';
import type { FieldIssue } from '../../protocol/error.ts';
import { type Caller, callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { ApiError, nonceReused, notFound, validationFailed } from '../errors.ts';
import { isAddressRange } from '../job-request.ts';
import { nullableTimestamp, timestamp } from '../job-view.ts';
import { newKeyPair, presetPermissions } from '../key-presets.ts';
import { parseListQuery, startOf } from '../list-query.ts';
import { listOf, listQuerySchema, rawQueryOf, uuidOf, uuidParams } from '../route-parts.ts';
import { bodyCheck } from '../validate.ts';

const createCheck = bodyCheck(CreateApiKeyBody);
const tags = ['API keys'];

export function apiKeyRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.post(
    '/v1/api-keys',
    {
      schema: {
        tags,
        summary: 'Create an API key; its secret is shown once',
        body: CreateApiKeyBody,
        response: { 201: CreatedApiKey },
      },
    },
    async (request, reply) => reply.code(201).send(await createKey(request, deps)),
  );
  app.get(
    '/v1/api-keys',
    {
      schema: {
        tags,
        summary: 'List API keys',
        querystring: listQuerySchema({}),
        response: { 200: ApiKeyList },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'keys:read');
      const query = parseListQuery(rawQueryOf(request), {});
      const { items, total } = await listApiKeys(deps.database, { ...query, accountId: caller.accountId });
      return listOf(query, { items, total, isTotalExact: true }, items.map(keyView));
    },
  );
  app.delete(
    '/v1/api-keys/:uuid',
    { schema: { tags, summary: 'Revoke an API key at once', params: uuidParams, response: { 200: ApiKey } } },
    (request) => revokeKey(request, deps),
  );
}

async function createKey(request: FastifyRequest, deps: ApiDeps): Promise<CreatedApiKey> {
  const caller = callerOf(request);
  requirePermission(caller, 'keys:write');
  const body = createCheck.parse(request.body);
  const preset = body.preset ?? 'consumer';
  const expiresAtMs = body.expires_at ? (startOf(body.expires_at) ?? Number.NaN) : null;
  checkKeyBody({ expiresAtMs, preset, allowedIps: body.allowed_ips ?? [] }, deps.now());
  const permissions = body.permissions ?? presetPermissions[preset];
  mayGrant(caller, permissions);
  const pair = newKeyPair(deps.newToken);
  const record = await deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    return createApiKey(sql, deps.vault, {
      id: deps.newId(),
      accountId: caller.accountId,
      name: body.name ?? '',
      preset,
      permissions,
      ...pair,
      nodeId: null,
      allowedIps: body.allowed_ips ?? [],
      expiresAtMs,
    });
  });
  return { ...keyView(record), secret_key: pair.secret };
}

function checkKeyBody(
  {
    expiresAtMs,
    preset,
    allowedIps,
  }: { expiresAtMs: number | null; preset: KeyPreset; allowedIps: string[] },
  nowMs: number,
): void {
  const issues: FieldIssue[] = [];
  if (preset === 'node')
    issues.push({ path: 'preset', expected: 'admin or consumer; a node gets its key from POST /v1/nodes' });
  const latest = Date.UTC(9999, 0);
  if (expiresAtMs !== null && !(expiresAtMs > nowMs && expiresAtMs < latest)) {
    issues.push({ path: 'expires_at', expected: 'a time in the future (RFC 3339)' });
  }
  for (const [index, range] of allowedIps.entries()) {
    if (!isAddressRange(range))
      issues.push({
        path: `allowed_ips[${index}]`,
        expected: 'an IP address or CIDR, such as 203.0.113.7/32',
        received: range,
      });
  }
  if (issues.length > 0) throw validationFailed(issues);
}

/** Nobody hands on more than they have. */
function mayGrant(caller: Caller, permissions: readonly Permission[]): void {
  const missing = permissions.filter((permission) => !caller.key.permissions.includes(permission));
  if (missing.length === 0) return;
  throw new ApiError('permission_denied', `This API key cannot grant what it lacks: ${missing.join(', ')}.`);
}

async function revokeKey(request: FastifyRequest, deps: ApiDeps): Promise<ApiKey> {
  const caller = callerOf(request);
  requirePermission(caller, 'keys:write');
  const id = uuidOf(request, 'API key');
  const record = await deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    const revoked = await revokeApiKey(sql, { id, accountId: caller.accountId });
    if (revoked !== null) await publishWith(sql, { kind: 'key', publicKey: revoked.publicKey });
    return revoked;
  });
  if (record === null) throw notFound('API key');
  deps.hints.publish({ kind: 'key', publicKey: record.publicKey });
  return keyView(record);
}

function keyView(key: ApiKeyRecord): ApiKey {
  return {
    object: 'api_key',
    uuid: key.id,
    name: key.name,
    preset: key.preset,
    permissions: [...key.permissions],
    public_key: key.publicKey,
    node_uuid: key.nodeId,
    allowed_ips: [...key.allowedIps],
    expires_at: nullableTimestamp(key.expiresAtMs),
    revoked_at: nullableTimestamp(key.revokedAtMs),
    created_at: timestamp(key.createdAtMs),
  };
}
