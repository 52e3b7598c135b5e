// The clock of the database's machine: read as it is, and deadlines moved with it when it jumps.
import type { Sql } from './database.ts';
import type { Leadership } from './leadership.ts';

/** Epoch milliseconds. */
export async function readMachineClock(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ at: number }>({
    name: 'read_machine_clock',
    text: 'select flotilla_machine_clock() as at',
  });
  if (row === undefined) throw new Error('The database did not tell its time.');
  return row.at;
}

/** Every deadline that is still to come, by so much; false when another leads by now, or did it already. */
export async function moveDeadlines(sql: Sql, leadership: Leadership, stepMs: number): Promise<boolean> {
  const [row] = await sql.query<{ moved: boolean }>(
    'select flotilla_move_deadlines($1, $2, $3, $4) as moved',
    [leadership.name, leadership.holder, leadership.epoch, stepMs],
  );
  return row?.moved ?? false;
}
