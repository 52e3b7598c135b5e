// Routes of money: transactions, balance, credits by the cluster's admin, and the check of the whole ledger.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import {
  findImbalances,
  getBalance,
  grantCredits,
  type LedgerRun,
  type LedgerTransaction as LedgerTransactionRecord,
  listBilledRuns,
  listTransactions,
} from '../../db/ledger.ts';
import { claimNonce } from '../../db/nonces.ts';
import { getUser } from '../../db/users.ts';
import { billedMs, costOf } from '../../domain/ledger.ts';
import { toUsd } from '../../domain/price.ts';
import {
  Balance,
  CreditBody,
  LedgerTransaction,
  LedgerTransactionList,
  LedgerVerification,
  transactionKinds,
} from '../../protocol/ledger.ts';
import { reachOf } from '../account-scope.ts';
import { recordChange } from '../audit-entry.ts';
import { actorOf, callerOf, requirePermission } from '../auth.ts';
import { balanceView } from '../balance-view.ts';
import type { ApiDeps } from '../deps.ts';
import { nonceReused, notFound, validationFailed } from '../errors.ts';
import { timestamp } from '../job-view.ts';
import { type FilterRules, parseListQuery } from '../list-query.ts';
import { listOf, listQuerySchema, rawQueryOf, refuseQuery, uuidOf, uuidParams } from '../route-parts.ts';
import { bodyCheck } from '../validate.ts';
import { billingRoutes } from './billing.ts';

const filters: FilterRules = {
  kind: { kind: 'words', column: 't.kind', words: transactionKinds },
  job_uuid: { kind: 'uuids', column: 't.job_id' },
  job_run_uuid: { kind: 'uuids', column: 't.run_id' },
  created_at: { kind: 'times', column: 't.created_at' },
};
const creditCheck = bodyCheck(CreditBody);
const tags = ['Ledger'];
/** Runs that one statement reads for the check. */
const verifyBatch = 5_000;
const maxWrong = 100;

export function ledgerRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.get(
    '/v1/compute/ledger/transactions',
    {
      schema: {
        tags,
        summary: 'List the account’s transactions, newest first',
        querystring: listQuerySchema(filters),
        response: { 200: LedgerTransactionList },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'ledger:read');
      const query = parseListQuery(rawQueryOf(request), filters);
      const result = await listTransactions(deps.database, { ...query, accountId: caller.accountId });
      return listOf(query, result, result.items.map(transactionView));
    },
  );
  app.get(
    '/v1/accounts/:uuid/balance',
    {
      schema: {
        tags,
        summary: 'Get the balance of the account, named by its uuid or a user’s',
        params: uuidParams,
        response: { 200: Balance },
      },
    },
    (request) => balance(request, deps),
  );
  app.post(
    '/v1/accounts/:uuid/credits',
    {
      schema: {
        tags,
        summary: 'Give an account credits, or take them back (admin of the cluster)',
        params: uuidParams,
        body: CreditBody,
        response: { 201: LedgerTransaction },
      },
    },
    async (request, reply) => reply.code(201).send(await credit(request, deps)),
  );
  app.get(
    '/v1/compute/ledger/verification',
    {
      schema: {
        tags,
        summary: 'Compute the whole ledger again from the runs, and compare (admin of the cluster)',
        response: { 200: LedgerVerification },
      },
    },
    (request) => verify(request, deps),
  );
  billingRoutes(app, deps);
}

async function balance(request: FastifyRequest, deps: ApiDeps): Promise<Balance> {
  const caller = callerOf(request);
  requirePermission(caller, 'ledger:read');
  const named = uuidOf(request, 'account');
  const reach = reachOf(caller);
  // Clients of the reference name the user they learned of from /v1/users/me.
  const user = await getUser(deps.database, { id: named, accountId: reach });
  const id = user?.accountId ?? named;
  const found = reach === null || reach === id ? await getBalance(deps.database, id) : null;
  if (found === null) throw notFound('account');
  return balanceView(id, found);
}

/** Half of what a JSON number holds exactly: usage has the other half. */
const maxBalanceMicros = 4e15;

async function credit(request: FastifyRequest, deps: ApiDeps): Promise<LedgerTransaction> {
  const caller = callerOf(request);
  requirePermission(caller, 'cluster:admin');
  const accountId = uuidOf(request, 'account');
  const body = creditCheck.parse(request.body);
  const amountMicros = Math.round(body.amount_usd * 1e6);
  const isWhole = Math.abs(body.amount_usd * 1e6 - amountMicros) < 0.25;
  if (amountMicros === 0 || !isWhole)
    throw validationFailed([{ path: 'amount_usd', expected: 'an amount other than 0, to the micro-dollar' }]);
  const granted = await deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    const description = body.description || (amountMicros > 0 ? 'credits' : 'credits taken back');
    const posted = await grantCredits(sql, {
      ...{ id: deps.newId(), accountId, amountMicros, description },
      actor: actorOf(caller),
    });
    if (posted === null) return null;
    if (Math.abs(posted.balanceMicros) > maxBalanceMicros)
      throw validationFailed([
        { path: 'amount_usd', expected: 'an amount that keeps the balance within 4e9 USD' },
      ]);
    await recordChange(
      sql,
      { caller, deps },
      {
        ...{ accountId, action: 'credits_granted', subjectKind: 'ledger_transaction', subjectId: posted.id },
        detail: { amount_usd: toUsd(amountMicros), description },
      },
    );
    return posted;
  });
  if (granted === null) throw notFound('account');
  return transactionView(granted);
}

async function verify(request: FastifyRequest, deps: ApiDeps): Promise<LedgerVerification> {
  requirePermission(callerOf(request), 'cluster:admin');
  refuseQuery(request);
  const wrong: LedgerVerification['wrong_runs'] = [];
  let runCount = 0;
  let afterId = '00000000-0000-0000-0000-000000000000';
  for (;;) {
    const runs = await listBilledRuns(deps.database, { afterId, limit: verifyBatch });
    runCount += runs.length;
    wrong.push(
      ...runs
        .filter(isWrong)
        .map(wrongView)
        .slice(0, maxWrong - wrong.length),
    );
    afterId = runs.at(-1)?.id ?? afterId;
    if (runs.length < verifyBatch) break;
  }
  const { accounts, transactions } = await findImbalances(deps.database);
  return {
    object: 'ledger_verification',
    is_right: wrong.length === 0 && accounts.length === 0 && transactions.length === 0,
    run_count: runCount,
    wrong_runs: wrong,
    wrong_accounts: accounts,
    wrong_transactions: transactions,
  };
}

/** A run that is billed to its end has one, so no present time is needed. */
const noNow = 0;

function isWrong(run: LedgerRun): boolean {
  return run.postedMicros !== costOf(run, noNow) || run.postedMs !== billedMs(run, noNow);
}

function wrongView(run: LedgerRun): LedgerVerification['wrong_runs'][number] {
  return {
    job_run_uuid: run.id,
    posted_usd: toUsd(run.postedMicros),
    computed_usd: toUsd(costOf(run, noNow)),
    posted_ms: run.postedMs,
    computed_ms: billedMs(run, noNow),
  };
}

function transactionView(transaction: LedgerTransactionRecord): LedgerTransaction {
  return {
    object: 'ledger_transaction',
    uuid: transaction.id,
    account_uuid: transaction.accountId,
    kind: transaction.kind,
    amount_usd: toUsd(transaction.amountMicros),
    balance_usd: toUsd(transaction.balanceMicros),
    currency: 'USD',
    job_uuid: transaction.jobId,
    job_run_uuid: transaction.runId,
    billed_ms: transaction.billedMs,
    description: transaction.description,
    created_at: timestamp(transaction.createdAtMs),
  };
}
