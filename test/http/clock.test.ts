// The clock of the database's machine jumps by hours, forward and back: nothing is lost, nothing times out, nothing stands still.
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { claimLeadership } from '../../src/db/leadership.ts';
import { newId } from '../../src/main/ids.ts';
import type { Job } from '../../src/protocol/job.ts';
import { aJob } from '../support/builders.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import { createHandNodes, endsWith, type HandNode, runsNow } from '../support/hand-nodes.ts';
import { startTestPostgres } from '../support/postgres.ts';
import { eventually, startTestServer } from '../support/server.ts';

const folder = mkdtempSync('/tmp/flotilla-clock-');
// PostgreSQL's user reads the clock in it.
chmodSync(folder, 0o711);
const clock = createFakeClock(folder);
const postgres = await startTestPostgres({ env: clock.env });
const server = await startTestServer({ postgres });
const { admin, database } = server;
const nodes = createHandNodes(server);
after(async () => {
  nodes.close();
  await server.stop();
  await postgres.stop();
  rmSync(folder, { recursive: true });
});

const tenMinutesMs = 600_000;

/** The leader looks at deadlines five times a second, at the clock every second. */
const someLooksMs = 1_200;

/** Sets the clock, and waits until the jump was made good and deadlines were looked at after it. */
async function jump(offset: Parameters<typeof clock.set>[0]): Promise<void> {
  const count = async () => (await stepsHours()).length;
  const before = await count();
  await sleep(someLooksMs);
  clock.set(offset);
  await eventually('the jump to be made good', async () => (await count()) > before);
  await sleep(someLooksMs);
}

async function stepsHours(): Promise<number[]> {
  const steps = await database.query<{ step_ms: number }>('select step_ms from clock_steps order by id');
  return steps.map(({ step_ms: stepMs }) => Math.round(stepMs / 3_600_000));
}

async function statusOf(uuid: string): Promise<Job['status']> {
  return (await admin.getJob(uuid)).status;
}

async function deadlinesLeftMs(): Promise<Record<string, number>> {
  const [row] = await database.query<Record<string, number>>(
    `select extract(epoch from max(r.run_deadline_at) - flotilla_now())::double precision * 1000 as run,
       extract(epoch from max(j.timeout_assign_at) - flotilla_now())::double precision * 1000 as assign
     from jobs j left join job_runs r on r.job_id = j.id and r.ended_at is null`,
  );
  return row ?? assert.fail('one row');
}

/** The leader places at once, and the run goes its way. */
async function assertWorks(node: HandNode): Promise<void> {
  const { job, order } = await nodes.place(node);
  await node.agent.report(order, runsNow);
  await node.agent.report(order, endsWith(0));
  assert.equal(await statusOf(job.uuid), 'COMPLETED');
}

test('a jump of the clock is no time that passed', async () => {
  const node = await nodes.connect();
  const long = await nodes.place(node, { max_timeout_run_ms: tenMinutesMs });
  await node.agent.report(long.order, runsNow);
  const unfit = aJob({
    allowed_region_codes: [node.region],
    cpu_count: 999,
    max_timeout_assign_ms: tenMinutesMs,
  });
  const waiting = await admin.createJob(unfit);
  const leader = await leaderOf();
  for (const offset of ['+2h', '-3h', '+48h'] as const) {
    await jump(offset);
    assert.deepEqual([await statusOf(long.job.uuid), await statusOf(waiting.uuid)], ['RUNNING', 'PENDING']);
    assert.equal((await nodes.get(node)).status, 'ready');
    for (const [kind, leftMs] of Object.entries(await deadlinesLeftMs()))
      assert.ok(
        leftMs > tenMinutesMs - 60_000 && leftMs <= tenMinutesMs + 3_000,
        `${kind}: ${leftMs} ms are left`,
      );
    const { duration_ms: durationMs } = await admin.getRun(long.order.run_uuid);
    assert.ok(
      durationMs !== null && durationMs >= 0 && durationMs < 60_000,
      `a duration of ${durationMs} ms`,
    );
    await assertWorks(node);
  }
  assert.equal(await leaderOf(), leader, 'the same leader all along');
  assert.deepEqual(await stepsHours(), [2, -5, 51]);
});

async function leaderOf(): Promise<string> {
  const [row] = await database.query<{ holder: string }>(
    "select holder from leaderships where name = 'scheduler'",
  );
  return row?.holder ?? assert.fail('nobody leads');
}

test('of two replicas one makes a jump good, once, also when the other leads after it', async () => {
  const replica = await server.startReplica();
  const node = await nodes.connect();
  const long = await nodes.place(node, { max_timeout_run_ms: tenMinutesMs });
  await node.agent.report(long.order, runsNow);
  await jump('+60h');
  assert.equal(await statusOf(long.job.uuid), 'RUNNING');
  await assertWorks(node);
  await replica.stop();
  await sleep(someLooksMs);
  assert.equal(await statusOf(long.job.uuid), 'RUNNING');
  assert.deepEqual((await stepsHours()).slice(3), [12]);
});

test('a leadership whose holder died before the clock was set back is free within a minute of its lease', async () => {
  const name = 'tried';
  const claim = { name, leaseMs: 5_000 };
  const dead = await claimLeadership(database, { ...claim, holder: newId() });
  assert.equal(dead?.epoch, 1);
  const heir = newId();
  assert.equal(await claimLeadership(database, { ...claim, holder: heir }), null);
  clock.set('+55h');
  const taken = await eventually('the heir leads', () =>
    claimLeadership(database, { ...claim, holder: heir }),
  );
  assert.equal(taken.epoch, 2);
});
