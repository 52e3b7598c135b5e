// The bulk stop against what happens at the same time: submits, placements, life events, single stops, deadlines.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import type pg from 'pg';
import type { Database, Sql } from '../../src/db/database.ts';
import { countRefused } from '../../src/db/gateway-ports.ts';
import { stopJob, stopJobs } from '../../src/db/job-stops.ts';
import { failUnassignedJobs, writePlan } from '../../src/db/placement.ts';
import { applyRunEvents } from '../../src/db/run-events.ts';
import type { LifeEvent } from '../../src/domain/transition.ts';
import { newId } from '../../src/main/ids.ts';
import type { Job } from '../../src/protocol/job.ts';
import type { JobStops } from '../../src/protocol/job-stop.ts';
import { type ANode, aJob, aNode } from '../support/builders.ts';
import type { Client } from '../support/client.ts';
import { exited, place, released, running } from '../support/runs.ts';
import { setSqlClock, startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const { database } = server;
let node: ANode;

before(async () => {
  node = await aNode(server, { cpus: 10_000 });
});

async function anAccount(): Promise<{ client: Client; accountId: string }> {
  const accountId = await server.createAccount(`account ${newId()}`);
  return { accountId, client: server.client(await server.createKey({ preset: 'admin', accountId })) };
}

async function submit(client: Client): Promise<string> {
  return (await client.createJob(aJob())).uuid;
}

test('every submit that was answered before the call is stopped, of those under way each is whole', async () => {
  const { client } = await anAccount();
  const answered = await Promise.all(Array.from({ length: 100 }, () => submit(client)));
  const under = Promise.all(Array.from({ length: 100 }, () => submit(client)));
  await client.stopJobs({ all: true });
  const later = await submit(client);
  const read = async (uuid: string) => (await client.getJob(uuid)).status;
  for (const uuid of answered) assert.equal(await read(uuid), 'CANCELLED');
  for (const uuid of await under) assert.match(await read(uuid), /^(PENDING|CANCELLED)$/);
  assert.equal(await read(later), 'PENDING');
});

test('a database whose clock went back stops what was accepted before', async () => {
  const { client } = await anAccount();
  await submit(client);
  await setSqlClock(server, -3_600_000);
  const { counts } = await client.stopJobs({ all: true });
  await setSqlClock(server, 0);
  assert.equal(counts.stopped, 1);
});

for (const filter of [{ status: 'PENDING' }, { task: 'BATCH' }] as const) {
  test(`${JSON.stringify(filter)}: a job that is being placed meanwhile`, async () => {
    const { client } = await anAccount();
    const uuid = await submit(client);
    let stopping: Promise<JobStops> | undefined;
    await database.transaction(async (sql) => {
      await place({ ...server, database: { ...database, query: sql.query } }, uuid, node.id);
      stopping = client.stopJobs({ filter });
      await new Promise((resolve) => setTimeout(resolve, 100));
    });
    const answer = await stopping;
    const job: Job = await client.getJob(uuid);
    if ('status' in filter) {
      assert.deepEqual(answer?.counts, { stopped: 0, would_stop: 0, unchanged: 1, not_found: 0 });
      assert.deepEqual([job.status, job.teardown], ['ASSIGNED', null], 'it is PENDING no more');
    } else {
      assert.equal(answer?.jobs[0]?.has_container, true);
      assert.deepEqual([job.status, job.teardown?.state], ['CANCELLED', 'requested']);
    }
  });
}

/** A session of its own that tries nothing again, so that a deadlock is seen. */
function sessionOf(client: pg.Client): Database {
  const query: Sql['query'] = async (statement, values = []) => {
    const text = typeof statement === 'string' ? { text: statement } : statement;
    return (await client.query({ ...text, values: [...values] })).rows;
  };
  return {
    ...database,
    query,
    async transaction(work) {
      await client.query('begin');
      const result = await work({ query });
      await client.query('commit');
      return result;
    },
  };
}

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

const stopOrder = { nonce: null, reason: 'race', detail: { code: 'stopped' }, graceMs: null, actor: {} };
const jobCount = 800;

test('plans, life events, single stops, deadlines and counts beside bulk stops: no deadlock, and one truth', async () => {
  const { accountId, client } = await anAccount();
  const template = await submit(client);
  await database.query(
    `insert into jobs select (jsonb_populate_record(j, jsonb_build_object('id', gen_random_uuid()))).*
     from jobs j, generate_series(1, $2) where j.id = $1`,
    [template, jobCount - 1],
  );
  const ids = (
    await database.query<{ id: string }>('select id from jobs where account_id = $1', [accountId])
  ).map(({ id }) => id);
  await database.query(
    "update jobs set timeout_assign_at = flotilla_now() - interval '1 second' where account_id = $1 and random() < 0.1",
    [accountId],
  );
  const sessions: pg.Client[] = [];
  const inSession = async (rounds: number, work: (session: Database) => Promise<unknown>) => {
    const connection = await database.dedicatedClient();
    sessions.push(connection);
    const session = sessionOf(connection);
    for (let round = 0; round < rounds; round += 1) await work(session);
  };
  try {
    await Promise.all([
      inSession(30, async (session) => placeSome(session, shuffled(ids).slice(0, 15))),
      inSession(30, async (session) => placeSome(session, shuffled(ids).slice(0, 15))),
      inSession(60, (session) => reportSome(session)),
      inSession(60, (session) => reportSome(session)),
      inSession(60, (session) =>
        stopJob(session, { ...stopOrder, accountId, jobId: shuffled(ids)[0] ?? '' }),
      ),
      inSession(40, (session) => stopSome(session, { accountId, ids: shuffled(ids).slice(0, 10) })),
      inSession(40, (session) => stopSome(session, { accountId, ids: shuffled(ids).slice(0, 10) })),
      inSession(40, (session) => failUnassignedJobs(session, shuffled(ids).slice(0, 60), newId())),
      inSession(40, (session) => countSome(session)),
    ]);
  } finally {
    for (const session of sessions) await session.end();
  }
  const stopped = await client.stopJobs({ all: true });
  assert.equal(stopped.is_complete, true);
  await checkTruth(accountId);
});

async function placeSome(session: Database, jobIds: string[]): Promise<void> {
  const { leadership } = server;
  assert.ok(leadership);
  const [row] = await session.query<{ version: number }>('select version from nodes where id = $1', [
    node.id,
  ]);
  const size = { cpuCount: 0, ramBytes: 0, storageBytes: 0, gpuUuids: [] };
  const nodeVersion = row?.version ?? 0;
  const plan = jobIds.map((jobId) => ({ jobId, runId: newId(), nodeId: node.id, nodeVersion, ...size }));
  await writePlan(session, leadership, plan);
}

/** Starts, ends and releases of a dozen runs in one batch, in any order. */
async function reportSome(session: Database): Promise<void> {
  const runs = await session.query<{ id: string; status: string }>(
    'select id, status from job_runs where released_at is null order by random() limit 15',
  );
  const events = runs.map(({ id, status }) => ({
    runId: id,
    from: null,
    event: (nowMs: number) => lifeEventAfter(status, nowMs),
    publish: [80, 443],
  }));
  await applyRunEvents(session, events, { kind: 'node' });
}

function lifeEventAfter(status: string, nowMs: number): LifeEvent {
  if (status === 'ASSIGNED') return running(nowMs);
  return status === 'RUNNING' && Math.random() < 0.5 ? exited(0)(nowMs) : released;
}

async function stopSome(session: Database, { accountId, ids }: { accountId: string; ids: string[] }) {
  const filters = [{ kind: 'uuids', column: 'j.id', uuids: ids } as const];
  await stopJobs(session, { filters, order: { ...stopOrder, accountId } }, null);
}

async function countSome(session: Database): Promise<void> {
  const ports = await session.query<{ port: number }>(
    'select port from gateway_ports where run_id is not null',
  );
  await countRefused(session, new Map(shuffled(ports).map(({ port }) => [port, 1])));
}

/** Job, run and port tell the same of each stop. */
async function checkTruth(accountId: string): Promise<void> {
  const rows = await database.query<{
    job: string;
    run: string | null;
    desired: string | null;
    stops: number;
    open: number;
    held: number;
  }>(
    `select j.status as job, r.status as run, r.desired, (r.token_sealed is not null)::integer as tokens,
       (select count(*) from job_events e where e.job_id = j.id and e.kind = 'stop_requested') as stops,
       (select count(*) from gateway_ports g where g.run_id = r.id and g.is_open) as open,
       (select count(*) from job_runs o where o.job_id = j.id and o.status not in ('COMPLETED', 'FAILED', 'CANCELLED')) as held
     from jobs j left join job_runs r on r.id = j.last_run_id where j.account_id = $1`,
    [accountId],
  );
  assert.equal(rows.length, jobCount);
  const seen = new Set<string>();
  for (const row of rows) {
    const text = JSON.stringify(row);
    seen.add(row.job);
    assert.match(row.job, /^(CANCELLED|COMPLETED|FAILED)$/, text);
    assert.equal(row.stops, row.job === 'CANCELLED' ? 1 : 0, text);
    assert.equal(row.open, 0, text);
    if (row.run === 'CANCELLING') assert.equal(row.desired, 'stop', text);
    assert.equal(row.held, row.run === 'CANCELLING' || row.run === 'FAILING' ? 1 : 0, text);
  }
  assert.ok(seen.size === 3, `every end was reached: ${[...seen].join()}`);
}
