// Routes of users: who signed, and the people of an account with their roles.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { getAccount } from '../../db/accounts.ts';
import type { Sql } from '../../db/database.ts';
import { publishWith } from '../../db/hints.ts';
import { claimNonce } from '../../db/nonces.ts';
import {
  createUser,
  getUser,
  listUserKeys,
  listUsers,
  removeUser,
  type UserRecord,
  updateUser,
} from '../../db/users.ts';
import { CreateUserBody, Me, UpdateUserBody, User, UserList, userRoles } from '../../protocol/user.ts';
import { listedAccount, reachOf, targetAccount } from '../account-scope.ts';
import { recordChange } from '../audit-entry.ts';
import { type Caller, callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { ApiError, nonceReused, notFound } from '../errors.ts';
import { nullableTimestamp, timestamp } from '../job-view.ts';
import { presetPermissions } from '../key-presets.ts';
import { mayGrantPermissions } from '../key-rights.ts';
import { type FilterRules, parseListQuery } from '../list-query.ts';
import { listOf, listQuerySchema, rawQueryOf, refuseQuery, uuidOf, uuidParams } from '../route-parts.ts';
import { bodyCheck } from '../validate.ts';

const createCheck = bodyCheck(CreateUserBody);
const updateCheck = bodyCheck(UpdateUserBody);
const tags = ['Accounts and users'];
const accountColumn = 'u.account_id';
const filters: FilterRules = {
  email: { kind: 'prefix', column: 'u.email' },
  role: { kind: 'words', column: 'u.role', words: userRoles },
  uuid: { kind: 'uuids', column: 'u.id' },
  account_uuid: { kind: 'uuids', column: accountColumn },
  created_at: { kind: 'times', column: 'u.created_at' },
};

export function userRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.get(
    '/v1/users/me',
    { schema: { tags, summary: 'Who signed the request, and what they may do', response: { 200: Me } } },
    (request) => me(request, deps),
  );
  app.post(
    '/v1/users',
    { schema: { tags, summary: 'Create a user', body: CreateUserBody, response: { 201: User } } },
    async (request, reply) => reply.code(201).send(await create(request, deps)),
  );
  app.get(
    '/v1/users',
    {
      schema: {
        tags,
        summary: 'List users',
        querystring: listQuerySchema(filters),
        response: { 200: UserList },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'users:read');
      const query = parseListQuery(rawQueryOf(request), filters);
      const accountId = listedAccount(caller, query, accountColumn);
      const result = await listUsers(deps.database, { ...query, accountId });
      return listOf(query, result, result.items.map(userView));
    },
  );
  app.get(
    '/v1/users/:uuid',
    { schema: { tags, summary: 'Get a user', params: uuidParams, response: { 200: User } } },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'users:read');
      refuseQuery(request);
      const user = await getUser(deps.database, { id: uuidOf(request, 'user'), accountId: reachOf(caller) });
      if (user === null) throw notFound('user');
      return userView(user);
    },
  );
  app.put(
    '/v1/users/:uuid',
    {
      schema: {
        tags,
        summary: "Change a user's role or address; their keys are bound by the new role at once",
        params: uuidParams,
        body: UpdateUserBody,
        response: { 200: User },
      },
    },
    (request) => update(request, deps),
  );
  app.delete(
    '/v1/users/:uuid',
    {
      schema: {
        tags,
        summary: 'Remove a user and revoke all their keys',
        params: uuidParams,
        response: { 200: User },
      },
    },
    (request) => remove(request, deps),
  );
}

/** Every key may ask: clients do to see whether theirs works. */
async function me(request: FastifyRequest, { database }: ApiDeps): Promise<Me> {
  const caller = callerOf(request);
  const { key, accountId } = caller;
  refuseQuery(request);
  const account = await getAccount(database, accountId);
  const user = key.userId === null ? null : await getUser(database, { id: key.userId, accountId });
  const person = user ?? personOf(caller);
  const name = account?.name ?? '';
  return {
    object: 'user',
    uuid: user?.id ?? accountId,
    email: person?.email ?? null,
    role: person?.role ?? null,
    account: { uuid: accountId, name },
    account_uuid: accountId,
    account_name: name,
    api_key_uuid: key.id,
    permissions: [...key.permissions],
  };
}

/** Whoever signed in with an identity provider, where they are no user of the account. */
function personOf({ session }: Caller): Pick<Me, 'email' | 'role'> | null {
  if (session?.holder.kind !== 'identity') return null;
  const { email, preset } = session.holder.identity;
  return { email, role: userRoles.find((role) => role === preset) ?? null };
}

async function create(request: FastifyRequest, deps: ApiDeps): Promise<User> {
  const caller = callerOf(request);
  requirePermission(caller, 'users:write');
  const { email, role = 'consumer', account_uuid: accountUuid } = createCheck.parse(request.body);
  mayGrantPermissions(caller.key, presetPermissions[role]);
  const accountId = await targetAccount(caller, { sql: deps.database, accountUuid });
  const user = await deps.database.transaction(async (sql) => {
    await claim(sql, caller);
    const created = await createUser(sql, { id: deps.newId(), accountId, email, role });
    if (created === null) throw taken();
    await record(sql, { caller, deps }, { user: created, action: 'user_created', detail: { email, role } });
    return created;
  });
  return userView(user);
}

async function update(request: FastifyRequest, deps: ApiDeps): Promise<User> {
  const caller = callerOf(request);
  requirePermission(caller, 'users:write');
  const one = { id: uuidOf(request, 'user'), accountId: reachOf(caller) };
  if ((await getUser(deps.database, one)) === null) throw notFound('user');
  const { email = null, role = null } = updateCheck.parse(request.body);
  if (role !== null) mayGrantPermissions(caller.key, presetPermissions[role]);
  const user = await deps.database.transaction(async (sql) => {
    await claim(sql, caller);
    const updated = await updateUser(sql, one, { email, role });
    if (updated === 'missing')
      throw new ApiError('conflict', 'This user was removed; create a new one in their place.');
    if (updated === 'taken') throw taken();
    for (const publicKey of await listUserKeys(sql, updated.id))
      await publishWith(sql, { kind: 'key', publicKey });
    const detail = { ...(email === null ? {} : { email }), ...(role === null ? {} : { role }) };
    await record(sql, { caller, deps }, { user: updated, action: 'user_updated', detail });
    return updated;
  });
  for (const publicKey of await listUserKeys(deps.database, user.id))
    deps.hints.publish({ kind: 'key', publicKey });
  return userView(user);
}

async function remove(request: FastifyRequest, deps: ApiDeps): Promise<User> {
  const caller = callerOf(request);
  requirePermission(caller, 'users:write');
  const one = { id: uuidOf(request, 'user'), accountId: reachOf(caller) };
  const removed = await deps.database.transaction(async (sql) => {
    await claim(sql, caller);
    const before = await getUser(sql, one);
    const found = await removeUser(sql, one);
    if (before === null || found === null) throw notFound('user');
    for (const publicKey of found.publicKeys) await publishWith(sql, { kind: 'key', publicKey });
    const { user } = found;
    if (before.removedAtMs === null)
      await record(sql, { caller, deps }, { user, action: 'user_removed', detail: { email: user.email } });
    return found;
  });
  for (const publicKey of removed.publicKeys) deps.hints.publish({ kind: 'key', publicKey });
  return userView(removed.user);
}

function record(
  sql: Sql,
  by: { caller: Caller; deps: ApiDeps },
  change: {
    user: UserRecord;
    action: 'user_created' | 'user_updated' | 'user_removed';
    detail: Record<string, unknown>;
  },
): Promise<void> {
  const { user, action, detail } = change;
  return recordChange(sql, by, {
    ...{ accountId: user.accountId, action, subjectKind: 'user', subjectId: user.id },
    detail,
  });
}

async function claim(sql: Sql, { nonce }: Caller): Promise<void> {
  if (!(await claimNonce(sql, nonce.keyId, nonce.value))) throw nonceReused();
}

function taken(): ApiError {
  return new ApiError('conflict', 'The account has a user of this e-mail address already.');
}

function userView(user: UserRecord): User {
  return {
    object: 'user',
    uuid: user.id,
    account_uuid: user.accountId,
    email: user.email,
    role: user.role,
    removed_at: nullableTimestamp(user.removedAtMs),
    created_at: timestamp(user.createdAtMs),
  };
}
