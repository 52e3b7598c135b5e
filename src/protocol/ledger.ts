// Wire shapes of money: an account's transactions and balance, credits, and the check of the ledger.
import Type, { type Static } from 'typebox';
import { ListOf } from './list.ts';
import { Nullable, Timestamp, Uuid, Words } from './schema.ts';

export const transactionKinds = ['credit', 'usage'] as const;

export const LedgerTransaction = Type.Object({
  object: Type.Literal('ledger_transaction'),
  uuid: Uuid,
  account_uuid: Uuid,
  kind: Words(transactionKinds),
  amount_usd: Type.Number({ description: 'change of the credits: negative for usage' }),
  balance_usd: Type.Number({ description: 'credits after it' }),
  currency: Type.Literal('USD'),
  job_uuid: Nullable(Uuid),
  job_run_uuid: Nullable(Uuid),
  billed_ms: Nullable(Type.Integer({ description: 'of usage: the time of the container it pays for' })),
  description: Type.String(),
  created_at: Timestamp,
});
export type LedgerTransaction = Static<typeof LedgerTransaction>;
export const LedgerTransactionList = ListOf(LedgerTransaction);

export const Balance = Type.Object({
  object: Type.Literal('account_balance'),
  account_uuid: Uuid,
  available_balance: Type.Number({ description: 'credits less what runs cost since they were billed last' }),
  balance_usd: Type.Number({ description: 'sum of the transactions' }),
  accrued_usd: Type.Number({ description: 'cost of running runs that is not billed yet' }),
  hourly_rate_usd: Type.Number({ description: 'what all its runs cost an hour at present' }),
  prepaid: Type.Boolean({
    description: 'it pays in advance: without credit nothing is started, and what runs is stopped',
  }),
  hours_left: Nullable(Type.Number({ description: 'how long the credit of a prepaid account lasts' })),
  currency: Type.Literal('USD'),
});
export type Balance = Static<typeof Balance>;

/** Body of `POST /v1/accounts/{uuid}/credits`. */
export const CreditBody = Type.Object(
  {
    amount_usd: Type.Number({
      minimum: -1_000_000_000,
      maximum: 1_000_000_000,
      description: 'negative: credits are taken back',
    }),
    description: Type.Optional(Nullable(Type.String({ maxLength: 256 }))),
  },
  { additionalProperties: false },
);
export type CreditBody = Static<typeof CreditBody>;

/** Whether the ledger is what the runs say. */
export const LedgerVerification = Type.Object({
  object: Type.Literal('ledger_verification'),
  is_right: Type.Boolean(),
  run_count: Type.Integer({ description: 'runs that were computed again' }),
  wrong_runs: Type.Array(
    Type.Object({
      job_run_uuid: Uuid,
      posted_usd: Type.Number(),
      computed_usd: Type.Number(),
      posted_ms: Type.Integer(),
      computed_ms: Type.Integer(),
    }),
    { description: 'at most 100' },
  ),
  wrong_accounts: Type.Array(Uuid),
  wrong_transactions: Type.Array(Uuid),
});
export type LedgerVerification = Static<typeof LedgerVerification>;
