// Shows what an account has left, and how long that lasts.
import type { AccountBalance } from '../db/ledger.ts';
import { hoursLeft } from '../domain/credit.ts';
import { toUsd } from '../domain/price.ts';
import type { Balance } from '../protocol/ledger.ts';

export function balanceView(accountId: string, balance: AccountBalance): Balance {
  const { balanceMicros, accruedMicros, rateMicros, isPrepaid } = balance;
  const availableMicros = balanceMicros - accruedMicros;
  return {
    object: 'account_balance',
    account_uuid: accountId,
    available_balance: toUsd(availableMicros),
    balance_usd: toUsd(balanceMicros),
    accrued_usd: toUsd(accruedMicros),
    hourly_rate_usd: toUsd(rateMicros),
    prepaid: isPrepaid,
    hours_left: isPrepaid ? hoursLeft({ availableMicros, rateMicros, graceMicros: 0 }) : null,
    currency: 'USD',
  };
}
