// Reports that cannot be stored: the agent hears nothing, is disconnected, and sends them again; others do not suffer.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createHandNodes, endsWith, runsNow } from '../support/hand-nodes.ts';
import { startTestServer } from '../support/server.ts';

const server = await startTestServer();
const nodes = createHandNodes(server);
after(() => nodes.close());

test('a report that the database refuses costs its node the connection, and another node nothing', async () => {
  const [bad, good] = [await nodes.connect(), await nodes.connect()];
  const [badRun, goodRun] = [await nodes.place(bad), await nodes.place(good)];
  const gathered = await holdReports(badRun.order.run_uuid);
  bad.agent.send({ type: 'report', sequence: 1, ...fenceOf(badRun.order), event: runsNow });
  await gathered.isWaiting();
  // No database stores a NUL in text. Both wait behind the first, so they are written together.
  bad.agent.send({ type: 'report', sequence: 2, ...fenceOf(badRun.order), event: endsWith(1, 'a\0b') });
  good.agent.send({ type: 'report', sequence: 1, ...fenceOf(goodRun.order), event: runsNow });
  await new Promise((resolve) => setTimeout(resolve, 200));
  await gathered.letGo();
  assert.equal((await good.agent.next('report_ack')).sequence, 1);
  assert.equal((await server.admin.getJob(goodRun.job.uuid)).status, 'RUNNING');
  assert.equal(await bad.agent.closed, 1001);
  const acknowledged = bad.agent.received.flatMap((it) => (it.type === 'report_ack' ? [it.sequence] : []));
  assert.deepEqual(acknowledged, [1]);
  assert.equal((await server.admin.getJob(badRun.job.uuid)).status, 'RUNNING');
});

function fenceOf({ run_uuid, attempt }: { run_uuid: string; attempt: number }) {
  return { run_uuid, attempt };
}

/** Holds the run's row, so that reports gather behind the one that needs it. */
async function holdReports(runId: string) {
  const { database } = server;
  let letGo = () => {};
  const isLetGo = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  let held = () => {};
  const isHeld = new Promise<void>((resolve) => {
    held = resolve;
  });
  const holding = database.transaction(async (sql) => {
    await sql.query('select from job_runs where id = $1 for update', [runId]);
    held();
    await isLetGo;
  });
  await isHeld;
  return {
    async isWaiting() {
      for (;;) {
        const [row] = await database.query<{ waiting: number }>(
          "select count(*) as waiting from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
        );
        if ((row?.waiting ?? 0) > 0) return;
      }
    },
    async letGo() {
      letGo();
      await holding;
    },
  };
}
