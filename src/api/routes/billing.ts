// Routes of billing: who pays in advance and what nodes earn, set by the cluster's admin.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import {
  type BillingSettings as BillingSettingsRecord,
  getBilling,
  setBilling,
  setPrepaid,
} from '../../db/credit.ts';
import { getBalance } from '../../db/ledger.ts';
import { claimNonce } from '../../db/nonces.ts';
import { toUsd } from '../../domain/price.ts';
import { BillingBody, BillingSettings, PrepaidBody } from '../../protocol/billing.ts';
import { Balance } from '../../protocol/ledger.ts';
import { recordChange } from '../audit-entry.ts';
import { callerOf, requirePermission } from '../auth.ts';
import { balanceView } from '../balance-view.ts';
import type { ApiDeps } from '../deps.ts';
import { nonceReused, notFound } from '../errors.ts';
import { refuseQuery, uuidOf, uuidParams } from '../route-parts.ts';
import { bodyCheck } from '../validate.ts';

const billingCheck = bodyCheck(BillingBody);
const prepaidCheck = bodyCheck(PrepaidBody);
const tags = ['Ledger'];

export function billingRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.get(
    '/v1/compute/billing',
    {
      schema: {
        tags,
        summary: 'Whether accounts pay in advance, and what nodes earn an hour',
        response: { 200: BillingSettings },
      },
    },
    async (request) => {
      requirePermission(callerOf(request), 'ledger:read');
      refuseQuery(request);
      return settingsView(await getBilling(deps.database));
    },
  );
  app.put(
    '/v1/compute/billing',
    {
      schema: {
        tags,
        summary: 'Set whether accounts pay in advance, and what nodes earn an hour (admin of the cluster)',
        body: BillingBody,
        response: { 200: BillingSettings },
      },
    },
    (request) => putBilling(request, deps),
  );
  app.put(
    '/v1/accounts/:uuid/prepaid',
    {
      schema: {
        tags,
        summary: 'Set whether an account pays in advance (admin of the cluster)',
        params: uuidParams,
        body: PrepaidBody,
        response: { 200: Balance },
      },
    },
    (request) => putPrepaid(request, deps),
  );
}

async function putBilling(request: FastifyRequest, deps: ApiDeps): Promise<BillingSettings> {
  const caller = callerOf(request);
  requirePermission(caller, 'cluster:admin');
  const body = billingCheck.parse(request.body);
  const after = await deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    const before = await getBilling(sql);
    const billing: BillingSettingsRecord = {
      isPrepaid: body.prepaid ?? before.isPrepaid,
      nodeRates: {
        availableMicros: microsOf(body.node_available_usd) ?? before.nodeRates.availableMicros,
        preparedMicros: microsOf(body.node_prepared_usd) ?? before.nodeRates.preparedMicros,
        workedMicros: microsOf(body.node_worked_usd) ?? before.nodeRates.workedMicros,
      },
    };
    await setBilling(sql, billing);
    const { object: _, ...detail } = settingsView(billing);
    const change = {
      accountId: null,
      action: 'billing_set' as const,
      subjectKind: 'settings',
      subjectId: null,
    };
    await recordChange(sql, { caller, deps }, { ...change, detail });
    return billing;
  });
  return settingsView(after);
}

async function putPrepaid(request: FastifyRequest, deps: ApiDeps): Promise<Balance> {
  const caller = callerOf(request);
  requirePermission(caller, 'cluster:admin');
  const accountId = uuidOf(request, 'account');
  const { prepaid: isPrepaid } = prepaidCheck.parse(request.body);
  await deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    if (!(await setPrepaid(sql, { accountId, isPrepaid }))) throw notFound('account');
    const change = {
      accountId,
      action: 'prepaid_set' as const,
      subjectKind: 'account',
      subjectId: accountId,
    };
    await recordChange(sql, { caller, deps }, { ...change, detail: { prepaid: isPrepaid } });
  });
  const balance = await getBalance(deps.database, accountId);
  if (balance === null) throw notFound('account');
  return balanceView(accountId, balance);
}

function settingsView({ isPrepaid, nodeRates }: BillingSettingsRecord): BillingSettings {
  return {
    object: 'billing_settings',
    prepaid: isPrepaid,
    node_available_usd: toUsd(nodeRates.availableMicros),
    node_prepared_usd: toUsd(nodeRates.preparedMicros),
    node_worked_usd: toUsd(nodeRates.workedMicros),
  };
}

function microsOf(usd: number | undefined): number | undefined {
  return usd === undefined ? undefined : Math.round(usd * 1e6);
}
