// Routes of an account's sessions: who is signed in, and the end of one at once.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { publishWith } from '../../db/hints.ts';
import { claimNonce } from '../../db/nonces.ts';
import { listSessions, lockSession, type SessionRecord } from '../../db/session-list.ts';
import { revokeSession } from '../../db/sessions.ts';
import { Session, SessionList } from '../../protocol/sign-in.ts';
import { listedAccount, reachOf } from '../account-scope.ts';
import { recordChange } from '../audit-entry.ts';
import { callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { nonceReused, notFound } from '../errors.ts';
import { nullableTimestamp, timestamp } from '../job-view.ts';
import { type FilterRules, parseListQuery } from '../list-query.ts';
import { listOf, listQuerySchema, rawQueryOf, refuseQuery, uuidOf, uuidParams } from '../route-parts.ts';

const tags = ['Sign-in'];
const accountColumn = 's.account_id';
const filters: FilterRules = {
  api_key_uuid: { kind: 'uuids', column: 's.key_id' },
  identity_uuid: { kind: 'uuids', column: 's.identity_id' },
  account_uuid: { kind: 'uuids', column: accountColumn },
  created_at: { kind: 'times', column: 's.created_at' },
};

export function sessionListRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.get(
    '/v1/sessions',
    {
      schema: {
        tags,
        summary: 'List sessions: who signed in, with what, from where; those that ended for a day',
        querystring: listQuerySchema(filters),
        response: { 200: SessionList },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'keys:read');
      const query = parseListQuery(rawQueryOf(request), filters);
      const accountId = listedAccount(caller, query, accountColumn);
      const result = await listSessions(deps.database, { ...query, accountId });
      return listOf(query, result, result.items.map(sessionView));
    },
  );
  app.delete(
    '/v1/sessions/:uuid',
    {
      schema: {
        tags,
        summary: 'End a session at once, with every token of it',
        params: uuidParams,
        response: { 200: Session },
      },
    },
    (request) => revoke(request, deps),
  );
}

async function revoke(request: FastifyRequest, deps: ApiDeps): Promise<Session> {
  const caller = callerOf(request);
  requirePermission(caller, 'keys:write');
  refuseQuery(request);
  const one = { id: uuidOf(request, 'session'), accountId: reachOf(caller) };
  const session = await deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    const found = await lockSession(sql, one);
    if (found === null) throw notFound('session');
    if (!(await revokeSession(sql, found.id, 'ended by a key or person of the account'))) return found;
    await publishWith(sql, { kind: 'session', sessionId: found.id });
    const detail = { api_key_uuid: found.keyId, identity_uuid: found.identityId, email: found.email };
    const change = { accountId: found.accountId, subjectKind: 'session', subjectId: found.id, detail };
    await recordChange(sql, { caller, deps }, { ...change, action: 'session_revoked' });
    return (await lockSession(sql, one)) ?? found;
  });
  deps.hints.publish({ kind: 'session', sessionId: session.id });
  return sessionView(session);
}

function sessionView(session: SessionRecord): Session {
  return {
    object: 'session',
    uuid: session.id,
    account_uuid: session.accountId,
    api_key_uuid: session.keyId,
    identity_uuid: session.identityId,
    issuer: session.issuer,
    subject: session.subject,
    email: session.email,
    permissions: [...session.permissions],
    address: session.address,
    created_at: timestamp(session.createdAtMs),
    expires_at: timestamp(session.expiresAtMs),
    revoked_at: nullableTimestamp(session.revokedAtMs),
    revoked_reason: session.revokedReason,
  };
}
