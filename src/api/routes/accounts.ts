// Routes of accounts: the cluster's admin makes and sees them all; everybody else sees their own.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type AccountRecord, createAccount, getAccount, listAccounts } from '../../db/accounts.ts';
import { claimNonce } from '../../db/nonces.ts';
import { Account, AccountList, CreateAccountBody } from '../../protocol/account.ts';
import { reachOf } from '../account-scope.ts';
import { recordChange } from '../audit-entry.ts';
import { callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { nonceReused, notFound } from '../errors.ts';
import { timestamp } from '../job-view.ts';
import { type FilterRules, parseListQuery } from '../list-query.ts';
import { listOf, listQuerySchema, rawQueryOf, refuseQuery, uuidOf, uuidParams } from '../route-parts.ts';
import { bodyCheck } from '../validate.ts';

const createCheck = bodyCheck(CreateAccountBody);
const tags = ['Accounts and users'];
const filters: FilterRules = {
  name: { kind: 'prefix', column: 'a.name' },
  uuid: { kind: 'uuids', column: 'a.id' },
  created_at: { kind: 'times', column: 'a.created_at' },
};

export function accountRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.post(
    '/v1/accounts',
    {
      schema: {
        tags,
        summary: 'Create an account (admin of the cluster)',
        body: CreateAccountBody,
        response: { 201: Account },
      },
    },
    async (request, reply) => reply.code(201).send(await create(request, deps)),
  );
  app.get(
    '/v1/accounts',
    {
      schema: {
        tags,
        summary: "List accounts: your own, or all for the cluster's admin",
        querystring: listQuerySchema(filters),
        response: { 200: AccountList },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'users:read');
      const query = parseListQuery(rawQueryOf(request), filters);
      const result = await listAccounts(deps.database, { ...query, accountId: reachOf(caller) });
      return listOf(query, result, result.items.map(accountView));
    },
  );
  app.get(
    '/v1/accounts/:uuid',
    { schema: { tags, summary: 'Get an account', params: uuidParams, response: { 200: Account } } },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'users:read');
      refuseQuery(request);
      const id = uuidOf(request, 'account');
      const reach = reachOf(caller);
      const account = reach === null || reach === id ? await getAccount(deps.database, id) : null;
      if (account === null) throw notFound('account');
      return accountView(account);
    },
  );
}

async function create(request: FastifyRequest, deps: ApiDeps): Promise<Account> {
  const caller = callerOf(request);
  requirePermission(caller, 'cluster:admin');
  const { name } = createCheck.parse(request.body);
  const account = await deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    const created = await createAccount(sql, { id: deps.newId(), name });
    await recordChange(
      sql,
      { caller, deps },
      {
        ...{
          accountId: created.id,
          action: 'account_created',
          subjectKind: 'account',
          subjectId: created.id,
        },
        detail: { name },
      },
    );
    return created;
  });
  return accountView(account);
}

function accountView({ id, name, createdAtMs }: AccountRecord): Account {
  return { object: 'account', uuid: id, name, created_at: timestamp(createdAtMs) };
}
