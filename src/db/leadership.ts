// Leadership as a row: holder, epoch and expiry by the database's clock, so that neither a pooler nor a dead peer can hold it.
import type { Sql } from './database.ts';

export interface Leadership {
  name: string;
  holder: string;
  epoch: number;
}

/**
 * Takes the leadership when it is free or expired, renews it while it is ours; null when another leads. The epoch rises
 * with every taking, also by who had it before: what a leader knew before it slept is worth nothing afterwards.
 * An expiry that is further away than its lease was written before the clock was set back: nobody holds it.
 */
export async function claimLeadership(
  sql: Sql,
  claim: { name: string; holder: string; leaseMs: number },
): Promise<Leadership | null> {
  const [row] = await sql.query<{ epoch: number }>(
    {
      name: 'claim_leadership',
      text: `insert into leaderships as l (name, holder, epoch, expires_at, lease_ms)
        values ($1, $2, 1, flotilla_now() + $3 * interval '1 millisecond', $3)
        on conflict (name) do update set holder = excluded.holder, expires_at = excluded.expires_at,
          lease_ms = excluded.lease_ms,
          epoch = case when l.holder = excluded.holder and l.expires_at >= flotilla_now() then l.epoch
            else l.epoch + 1 end
        where l.holder = excluded.holder or l.expires_at < flotilla_now()
          -- A minute more: this statement may have waited for the row that its holder was renewing.
          or l.expires_at > flotilla_now() + (l.lease_ms + 60000) * interval '1 millisecond'
        returning epoch`,
    },
    [claim.name, claim.holder, claim.leaseMs],
  );
  return row === undefined ? null : { name: claim.name, holder: claim.holder, epoch: row.epoch };
}

/** Gives it up at once, so that another replica need not wait for the expiry. */
export async function releaseLeadership(sql: Sql, leadership: Leadership): Promise<void> {
  await sql.query(
    `update leaderships set expires_at = flotilla_now() - interval '1 millisecond'
     where name = $1 and holder = $2 and epoch = $3`,
    [leadership.name, leadership.holder, leadership.epoch],
  );
}
