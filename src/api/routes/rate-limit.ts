// Routes of the cluster's rate limit: read by the cluster's admin, and set.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { claimNonce } from '../../db/nonces.ts';
import { getRateLimit, setRateLimit } from '../../db/rate-limit.ts';
import { RateLimitBody, RateLimitSetting } from '../../protocol/rate-limit.ts';
import { recordChange } from '../audit-entry.ts';
import { callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { nonceReused } from '../errors.ts';
import { refuseQuery } from '../route-parts.ts';
import { bodyCheck } from '../validate.ts';

const setCheck = bodyCheck(RateLimitBody);
const tags = ['Cluster'];

export function rateLimitRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.get(
    '/v1/cluster/rate-limit',
    {
      schema: {
        tags,
        summary: 'Get the rate limit of keys (admin of the cluster)',
        response: { 200: RateLimitSetting },
      },
    },
    async (request) => {
      requirePermission(callerOf(request), 'cluster:admin');
      refuseQuery(request);
      return settingView(await getRateLimit(deps.database));
    },
  );
  app.put(
    '/v1/cluster/rate-limit',
    {
      schema: {
        tags,
        summary: 'Set the rate limit of keys (admin of the cluster); every replica follows within 5 s',
        body: RateLimitBody,
        response: { 200: RateLimitSetting },
      },
    },
    (request) => set(request, deps),
  );
}

async function set(request: FastifyRequest, deps: ApiDeps): Promise<RateLimitSetting> {
  const caller = callerOf(request);
  requirePermission(caller, 'cluster:admin');
  const { requests_per_second: perSecond } = setCheck.parse(request.body);
  const limit = await deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    await setRateLimit(sql, perSecond);
    const present = await getRateLimit(sql);
    await recordChange(
      sql,
      { caller, deps },
      {
        ...{ accountId: null, action: 'rate_limit_set', subjectKind: 'cluster', subjectId: null },
        detail: { requests_per_second: present },
      },
    );
    return present;
  });
  return settingView(limit);
}

function settingView(perSecond: number): RateLimitSetting {
  return { object: 'rate_limit', requests_per_second: perSecond };
}
