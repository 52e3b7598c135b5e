// Routes of API keys: create, list, get, revoke; nobody makes a key that may more than their own.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { createApiKey, getApiKey, listApiKeys, lockApiKey, revokeApiKey } from '../../db/api-keys.ts';
import type { Sql } from '../../db/database.ts';
import { publishWith } from '../../db/hints.ts';
import { claimNonce } from '../../db/nonces.ts';
import { getUser, type UserRecord } from '../../db/users.ts';
import { ApiKey, ApiKeyList, CreateApiKeyBody, CreatedApiKey, keyPresets } from '../../protocol/api-key.ts';
import { uuidPattern } from '../../protocol/schema.ts';
import { listedAccount, reachOf, targetAccount } from '../account-scope.ts';
import { recordChange } from '../audit-entry.ts';
import { type Caller, callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { nonceReused, notFound } from '../errors.ts';
import { checkKeyRights, mayRaiseRate } from '../key-checks.ts';
import { newKeyPair, presetPermissions } from '../key-presets.ts';
import { type KeyRights, mayGrant } from '../key-rights.ts';
import { keyDetail, keyView } from '../key-view.ts';
import { type FilterRules, parseListQuery, startOf } from '../list-query.ts';
import { listOf, listQuerySchema, rawQueryOf, refuseQuery, uuidOf, uuidParams } from '../route-parts.ts';
import { bodyCheck } from '../validate.ts';
import { apiKeyChangeRoutes } from './api-key-changes.ts';

const createCheck = bodyCheck(CreateApiKeyBody);
const tags = ['API keys'];
const accountColumn = 'k.account_id';
const filters: FilterRules = {
  name: { kind: 'prefix', column: 'k.name' },
  preset: { kind: 'words', column: 'k.preset', words: keyPresets },
  uuid: { kind: 'uuids', column: 'k.id' },
  user_uuid: { kind: 'uuids', column: 'k.user_id' },
  account_uuid: { kind: 'uuids', column: accountColumn },
  created_at: { kind: 'times', column: 'k.created_at' },
};

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
        querystring: listQuerySchema(filters),
        response: { 200: ApiKeyList },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'keys:read');
      const query = parseListQuery(rawQueryOf(request), filters);
      const accountId = listedAccount(caller, query, accountColumn);
      const result = await listApiKeys(deps.database, { ...query, accountId });
      return listOf(query, result, result.items.map(keyView));
    },
  );
  app.get(
    '/v1/api-keys/:uuid',
    { schema: { tags, summary: 'Get an API key', params: uuidParams, response: { 200: ApiKey } } },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'keys:read');
      refuseQuery(request);
      const one = { id: uuidOf(request, 'API key'), accountId: reachOf(caller) };
      const key = await getApiKey(deps.database, one);
      if (key === null) throw notFound('API key');
      return keyView(key);
    },
  );
  app.delete(
    '/v1/api-keys/:uuid',
    { schema: { tags, summary: 'Revoke an API key at once', params: uuidParams, response: { 200: ApiKey } } },
    (request) => revokeKey(request, deps),
  );
  apiKeyChangeRoutes(app, deps);
}

async function createKey(request: FastifyRequest, deps: ApiDeps): Promise<CreatedApiKey> {
  const caller = callerOf(request);
  requirePermission(caller, 'keys:write');
  const body = createCheck.parse(request.body);
  const { database } = deps;
  const accountId = await targetAccount(caller, { sql: database, accountUuid: body.account_uuid });
  const user = await userOf(database, { userUuid: body.user_uuid, accountId });
  const preset = body.preset ?? user?.role ?? 'consumer';
  const rights: KeyRights = {
    permissions: body.permissions ?? presetPermissions[preset],
    ...limitsOf(body, caller),
  };
  checkKeyRights({ rights, user, preset }, deps.now());
  mayGrant(caller, rights);
  await mayRaiseRate(rights, { caller, sql: database });
  const pair = newKeyPair(deps.newToken);
  const record = await database.transaction(async (sql) => {
    await claim(sql, caller);
    const created = await createApiKey(sql, deps.vault, {
      ...{
        id: deps.newId(),
        accountId,
        userId: user?.id ?? null,
        name: body.name ?? '',
        preset,
        nodeId: null,
      },
      ...rights,
      ...pair,
    });
    await recordChange(
      sql,
      { caller, deps },
      {
        accountId,
        action: 'key_created',
        subjectKind: 'api_key',
        subjectId: created.id,
        detail: keyDetail(created),
      },
    );
    return created;
  });
  return { ...keyView(record), secret_key: pair.secret };
}

/** What the body leaves out is as with the maker's key. */
function limitsOf(body: CreateApiKeyBody, { key }: Caller): Omit<KeyRights, 'permissions'> {
  const allowedIps = body.allowed_ips ?? [];
  return {
    expiresAtMs: body.expires_at ? (startOf(body.expires_at) ?? Number.NaN) : key.expiresAtMs,
    allowedIps: allowedIps.length > 0 ? allowedIps : key.allowedIps,
    rateLimitPerSecond: body.rate_limit_per_second ?? key.rateLimitPerSecond,
  };
}

async function userOf(
  sql: Sql,
  { userUuid, accountId }: { userUuid: string | null | undefined; accountId: string },
): Promise<UserRecord | null> {
  if (!userUuid) return null;
  const isUuid = new RegExp(uuidPattern).test(userUuid);
  const user = isUuid ? await getUser(sql, { id: userUuid.toLowerCase(), accountId }) : null;
  if (user === null || user.removedAtMs !== null) throw notFound('user');
  return user;
}

async function revokeKey(request: FastifyRequest, deps: ApiDeps): Promise<ApiKey> {
  const caller = callerOf(request);
  requirePermission(caller, 'keys:write');
  const one = { id: uuidOf(request, 'API key'), accountId: reachOf(caller) };
  const record = await deps.database.transaction(async (sql) => {
    await claim(sql, caller);
    const key = await lockApiKey(sql, one);
    if (key === null) throw notFound('API key');
    if (key.revokedAtMs !== null) return key;
    const revoked = await revokeApiKey(sql, key.id);
    const { id, accountId, publicKey } = revoked;
    await publishWith(sql, { kind: 'key', publicKey });
    await recordChange(
      sql,
      { caller, deps },
      { accountId, action: 'key_revoked', subjectKind: 'api_key', subjectId: id, detail: keyDetail(revoked) },
    );
    return revoked;
  });
  deps.hints.publish({ kind: 'key', publicKey: record.publicKey });
  return keyView(record);
}

async function claim(sql: Sql, { nonce }: Caller): Promise<void> {
  if (!(await claimNonce(sql, nonce.keyId, nonce.value))) throw nonceReused();
}
