// Routes that change an API key: its name, rights and limits, and a new secret in the place of the old.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type ApiKeyRecord, lockApiKey, rotateApiKey, updateApiKey } from '../../db/api-keys.ts';
import type { Sql } from '../../db/database.ts';
import { publishWith } from '../../db/hints.ts';
import { claimNonce } from '../../db/nonces.ts';
import { getUser } from '../../db/users.ts';
import { ApiKey, CreatedApiKey, RotateApiKeyBody, UpdateApiKeyBody } from '../../protocol/api-key.ts';
import { reachOf } from '../account-scope.ts';
import { recordChange } from '../audit-entry.ts';
import { type Caller, callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { ApiError, nonceReused, notFound } from '../errors.ts';
import { checkKeyRights, mayRaiseRate } from '../key-checks.ts';
import { newKeyPair } from '../key-presets.ts';
import { type KeyRights, mayGrant } from '../key-rights.ts';
import { keyDetail, keyView } from '../key-view.ts';
import { startOf } from '../list-query.ts';
import { uuidOf, uuidParams } from '../route-parts.ts';
import { bodyCheck } from '../validate.ts';

const updateCheck = bodyCheck(UpdateApiKeyBody);
const rotateCheck = bodyCheck(RotateApiKeyBody);
const tags = ['API keys'];

export function apiKeyChangeRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.put(
    '/v1/api-keys/:uuid',
    {
      schema: {
        tags,
        summary: 'Change name, permissions or limits of an API key; it holds at once',
        params: uuidParams,
        body: UpdateApiKeyBody,
        response: { 200: ApiKey },
      },
    },
    (request) => update(request, deps),
  );
  app.post(
    '/v1/api-keys/:uuid/rotate',
    {
      schema: {
        tags,
        summary: 'Give an API key a new secret, shown once; the old one may work a while longer',
        params: uuidParams,
        body: RotateApiKeyBody,
        response: { 200: CreatedApiKey },
      },
    },
    (request) => rotate(request, deps),
  );
}

async function update(request: FastifyRequest, deps: ApiDeps): Promise<ApiKey> {
  const record = await change(request, deps, async (sql, { caller, key }) => {
    const body = updateCheck.parse(request.body);
    const next = { name: body.name ?? key.name, ...rightsAfter(key, body) };
    const user =
      key.userId === null ? null : await getUser(sql, { id: key.userId, accountId: key.accountId });
    checkKeyRights({ rights: next, user }, body.expires_at ? deps.now() : null);
    mayGrant(caller, next);
    if (body.rate_limit_per_second) await mayRaiseRate(next, { caller, sql });
    return { record: await updateApiKey(sql, key.id, next), action: 'key_updated', detail: {} };
  });
  return keyView(record);
}

function rightsAfter(key: ApiKeyRecord, body: UpdateApiKeyBody): KeyRights {
  const { permissions, expires_at: expiresAt, allowed_ips: ips, rate_limit_per_second: rate } = body;
  return {
    permissions: permissions ?? key.permissions,
    expiresAtMs:
      expiresAt === undefined ? key.expiresAtMs : expiresAt ? (startOf(expiresAt) ?? Number.NaN) : null,
    allowedIps: ips === undefined ? key.allowedIps : (ips ?? []),
    rateLimitPerSecond: rate === undefined ? key.rateLimitPerSecond : rate,
  };
}

async function rotate(request: FastifyRequest, deps: ApiDeps): Promise<CreatedApiKey> {
  const { secret } = newKeyPair(deps.newToken);
  const record = await change(request, deps, async (sql, { key }) => {
    const overlapMs = rotateCheck.parse(request.body).overlap_ms ?? 0;
    const rotated = await rotateApiKey(sql, deps.vault, { key, secret, overlapMs });
    return { record: rotated, action: 'key_rotated', detail: { overlap_ms: overlapMs } };
  });
  return { ...keyView(record), secret_key: secret };
}

interface Changed {
  record: ApiKeyRecord;
  action: 'key_updated' | 'key_rotated';
  detail: Record<string, unknown>;
}

/** On a key that the caller may make: who gets another key's secret, or widens it, may no more than before. */
async function change(
  request: FastifyRequest,
  deps: ApiDeps,
  make: (sql: Sql, subject: { caller: Caller; key: ApiKeyRecord }) => Promise<Changed>,
): Promise<ApiKeyRecord> {
  const caller = callerOf(request);
  requirePermission(caller, 'keys:write');
  const one = { id: uuidOf(request, 'API key'), accountId: reachOf(caller) };
  const record = await deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    const key = await lockApiKey(sql, one);
    if (key === null) throw notFound('API key');
    refuseUnchangeable(key);
    // A token may less than the key it was got with.
    const isItself = caller.session === null && key.id === caller.key.id;
    if (!isItself) mayGrant(caller, key);
    const changed = await make(sql, { caller, key });
    const { id, accountId, publicKey } = changed.record;
    await publishWith(sql, { kind: 'key', publicKey });
    const detail = { ...keyDetail(changed.record), ...changed.detail };
    const { action } = changed;
    await recordChange(
      sql,
      { caller, deps },
      { accountId, action, subjectKind: 'api_key', subjectId: id, detail },
    );
    return changed.record;
  });
  deps.hints.publish({ kind: 'key', publicKey: record.publicKey });
  return record;
}

function refuseUnchangeable(key: ApiKeyRecord): void {
  if (key.revokedAtMs !== null) throw new ApiError('conflict', 'This API key was revoked; create a new one.');
  if (key.nodeId !== null)
    throw new ApiError(
      'conflict',
      'This is the key of a node; remove the node and register it again for a new one.',
    );
}
