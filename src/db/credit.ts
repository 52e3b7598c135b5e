// Who pays in advance, what is left to them, and the cluster's settings of billing.

import type { CreditUse } from '../domain/credit.ts';
import type { NodeRates } from '../domain/epoch.ts';
import { defaultStopGraceMs } from '../domain/transition.ts';
import type { Sql } from './database.ts';

export interface BillingSettings {
  /** Of accounts that nothing else is said of. */
  isPrepaid: boolean;
  nodeRates: NodeRates;
}

export const defaultBilling: BillingSettings = {
  isPrepaid: false,
  nodeRates: { availableMicros: 0, preparedMicros: 0, workedMicros: 0 },
};

const settingName = 'billing';

export async function getBilling(sql: Sql): Promise<BillingSettings> {
  const [row] = await sql.query<{ value: Partial<BillingSettings> }>({
    name: 'get_billing',
    text: `select value from settings where name = '${settingName}'`,
  });
  return { ...defaultBilling, ...row?.value };
}

export async function setBilling(sql: Sql, billing: BillingSettings): Promise<void> {
  await sql.query(
    `insert into settings (name, value) values ($1, $2)
     on conflict (name) do update set value = excluded.value, updated_at = flotilla_now()`,
    [settingName, JSON.stringify(billing)],
  );
}

/** null: as the cluster's setting says. False: no such account. */
export async function setPrepaid(
  sql: Sql,
  { accountId, isPrepaid }: { accountId: string; isPrepaid: boolean | null },
): Promise<boolean> {
  const rows = await sql.query('update accounts set is_prepaid = $2 where id = $1 returning id', [
    accountId,
    isPrepaid,
  ]);
  return rows.length > 0;
}

/** Accounts that differ from the cluster's setting, and that setting. */
export async function readPrepaid(sql: Sql): Promise<{ isDefault: boolean; exceptions: Set<string> }> {
  const rows = await sql.query<{ id: string | null; is_default: boolean }>({
    name: 'read_prepaid',
    text: `select a.id, d.is_default from (select coalesce((select (s.value ->> 'isPrepaid')::boolean from settings s
        where s.name = '${settingName}'), false) as is_default) d
      left join accounts a on a.is_prepaid = not d.is_default`,
  });
  const exceptions = rows.flatMap(({ id }) => (id === null ? [] : [id]));
  return { isDefault: rows[0]?.is_default ?? false, exceptions: new Set(exceptions) };
}

/** Micro-dollars that are left to the account. */
export async function getAvailable(sql: Sql, accountId: string): Promise<number> {
  const [row] = await sql.query<{ micros: number }>(
    { name: 'get_available', text: 'select flotilla_available_micros($1) as micros' },
    [accountId],
  );
  return row?.micros ?? 0;
}

export interface PrepaidAccount {
  id: string;
  use: CreditUse;
  isWarned: boolean;
}

const prepaid = `coalesce(a.is_prepaid,
  (select (s.value ->> 'isPrepaid')::boolean from settings s where s.name = '${settingName}'), false)`;

/** Accounts that pay in advance and have runs that cost something, or were warned. */
export async function listPrepaidAccounts(sql: Sql): Promise<PrepaidAccount[]> {
  const rows = await sql.query<{
    id: string;
    available: number;
    rate: number;
    grace: number;
    is_warned: boolean;
  }>(
    {
      name: 'list_prepaid_accounts',
      text: `select a.id, flotilla_available_micros(a.id) as available, u.rate, u.grace,
          a.low_credit_warned_at is not null as is_warned
        from accounts a cross join lateral (
          select coalesce(sum(r.hourly_rate_micros), 0)::bigint as rate,
            coalesce(sum(flotilla_cost_micros(r.hourly_rate_micros, coalesce(r.stop_grace_ms, $1))), 0)::bigint as grace
          from job_runs r where r.account_id = a.id and r.hourly_rate_micros > 0 and r.started_at is not null
            and not r.is_billed and r.status = 'RUNNING'
        ) u where ${prepaid} and (u.rate > 0 or a.low_credit_warned_at is not null)`,
    },
    [defaultStopGraceMs],
  );
  return rows.map(({ id, available, rate, grace, is_warned: isWarned }) => {
    return { id, isWarned, use: { availableMicros: available, rateMicros: rate, graceMicros: grace } };
  });
}

/** The account is told once, with an event; `detail` null: its credit is enough again. */
export async function noteLowCredit(
  sql: Sql,
  warning: { accountId: string; detail: Record<string, unknown> | null; actor: Record<string, unknown> },
): Promise<void> {
  const { accountId, detail, actor } = warning;
  if (detail === null) {
    await sql.query('update accounts set low_credit_warned_at = null where id = $1', [accountId]);
    return;
  }
  await sql.query(
    `with warned as (
       update accounts set low_credit_warned_at = flotilla_now() where id = $1 and low_credit_warned_at is null returning id
     )
     insert into job_events (created_at, account_id, kind, actor, detail)
     select flotilla_now(), id, 'low_credit', $2, $3 from warned`,
    [accountId, JSON.stringify(actor), JSON.stringify(detail)],
  );
}

/** Jobs of the account whose runs cost something now. */
export async function listCostingJobs(
  sql: Sql,
  accountId: string,
): Promise<{ id: string; accountId: string }[]> {
  return sql.query(
    `select r.job_id as id, r.account_id as "accountId" from job_runs r
     where r.account_id = $1 and r.hourly_rate_micros > 0 and r.started_at is not null and not r.is_billed
       and r.status = 'RUNNING' order by r.job_id`,
    [accountId],
  );
}

/** Those of these jobs whose accounts pay in advance and have nothing left. */
export async function listUnpaidJobs(
  sql: Sql,
  jobIds: readonly string[],
): Promise<{ id: string; accountId: string }[]> {
  return sql.query(
    `with broke as materialized (
       select a.id from accounts a where ${prepaid}
         and a.id in (select j.account_id from jobs j where j.id = any ($1::uuid[]))
         and flotilla_available_micros(a.id) <= 0
     )
     select j.id, j.account_id as "accountId" from jobs j where j.id = any ($1::uuid[])
       and j.account_id in (select id from broke) order by j.id`,
    [jobIds],
  );
}
