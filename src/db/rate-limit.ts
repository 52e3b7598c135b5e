// The cluster's rate limit: what a key may send a second to each replica, unless the key has a limit of its own.
import type { Sql } from './database.ts';

/** More than one replica serves: it is there to be lowered. */
export const defaultRateLimit = 20_000;
const settingName = 'rate_limit';

export async function getRateLimit(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ value: { perSecond?: number } }>(
    { name: 'get_rate_limit', text: 'select value from settings where name = $1' },
    [settingName],
  );
  return row?.value.perSecond ?? defaultRateLimit;
}

/** null: back to the default. */
export async function setRateLimit(sql: Sql, perSecond: number | null): Promise<void> {
  await sql.query(
    `insert into settings (name, value) values ($1, $2)
     on conflict (name) do update set value = excluded.value, updated_at = flotilla_now()`,
    [settingName, JSON.stringify(perSecond === null ? {} : { perSecond })],
  );
}
