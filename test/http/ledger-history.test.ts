// The proof of the ledger: a random history with crashes balances, equals its recomputation, and bills what was run.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { costMicros } from '../../src/domain/price.ts';
import type { LedgerVerification } from '../../src/protocol/ledger.ts';
import { startTestServer } from '../support/server.ts';
import { playHistory, trueMs } from './support/past-history.ts';

const server = await startTestServer({ hasScheduler: false });
const runCount = Number(process.env.FLOTILLA_LEDGER_RUNS ?? 10_000);
const seed = Number(process.env.FLOTILLA_LEDGER_SEED ?? 11);

/** The same numbers each time. */
function seeded(start: number): () => number {
  let state = start;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}

test(`${runCount} runs with crashes are billed for their time, to the millisecond and the micro-dollar`, async (t) => {
  const { database, admin } = server;
  const accountId = await server.createAccount('historian');
  const { runs, counts } = await playHistory(server, { accountId, runCount, random: seeded(seed) });
  t.diagnostic(JSON.stringify({ seed, runs: runs.length, ...counts }));
  assert.ok(runs.length >= runCount);

  const posted = await database.query<{ id: string; ms: number; micros: number }>(
    `select run_id as id, sum(billed_ms)::bigint as ms, sum(-amount_micros)::bigint as micros
     from ledger_transactions where account_id = $1 and kind = 'usage' group by run_id`,
    [accountId],
  );
  const postedOf = new Map(posted.map((row) => [row.id, row]));
  let total = 0;
  for (const run of runs) {
    const ms = run.rateMicros === 0 ? 0 : trueMs(run);
    const micros = costMicros(run.rateMicros, ms);
    const { ms: postedMs = 0, micros: postedMicros = 0 } = postedOf.get(run.id) ?? {};
    assert.deepEqual({ ms: postedMs, micros: postedMicros }, { ms, micros }, JSON.stringify(run));
    total += micros;
  }
  const [sums] = await database.query<{ balance: number; entries: number; books: number }>(
    `select (select balance_micros from account_balances where account_id = $1) as balance,
       (select sum(amount_micros) from ledger_entries)::bigint as entries,
       (select -sum(amount_micros) from ledger_entries where book = 'credits')::bigint as books`,
    [accountId],
  );
  assert.deepEqual(sums, { balance: -total, entries: 0, books: total });

  const checked = await admin.ask<LedgerVerification>('GET', '/v1/compute/ledger/verification');
  assert.deepEqual([checked.is_right, checked.wrong_runs], [true, []]);
  assert.equal(
    checked.run_count,
    runs.filter((run) => run.rateMicros > 0 && run.startedAtMs !== null).length,
  );
  const seen = [
    'lost with its node',
    'retried',
    'stopped before its start',
    'stopped with own grace',
    'reported late',
  ];
  const crashes = [
    'reported twice',
    'leader killed in a billing round',
    'leader killed between billing rounds',
  ];
  for (const what of [...seen, ...crashes, 'two leaders bill', 'start_timeout', 'run_timeout'])
    assert.ok((counts[what] ?? 0) > 0, `the history has some: ${what}`);
});
