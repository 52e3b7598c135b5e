// Lists of jobs: filters, ranges, sort, pages and totals.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { aJob, aNode } from '../support/builders.ts';
import { queryOf } from '../support/client.ts';
import { exited, place, released, report, running } from '../support/runs.ts';
import { startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin, database } = server;
const uuids = new Map<string, string>();

const jobs: Record<string, Record<string, unknown>> = {
  pending: { cpu_count: 1, labels: { team: 'a', stage: 'one' } },
  assigned: { cpu_count: 2, gpu_count: 1, min_vram_gb: 8, labels: { team: 'a', stage: 'two' } },
  running: { cpu_count: 2.5, min_ram_gb: 4, labels: { team: 'b' } },
  completed: { cpu_count: 4, min_storage_gb: 10 },
  failed: { cpu_count: 8, min_ram_gb: 8 },
  stopping: { task: 'PERSISTENT', max_timeout_run_ms: null, cpu_count: 16 },
};
const days: Record<string, string> = {
  pending: '2026-01-01T00:00:00Z',
  assigned: '2026-01-01T23:59:59.999Z',
  running: '2026-01-02T00:00:00Z',
  completed: '2026-01-02T12:00:00.123456Z',
  failed: '2026-01-03T23:59:59.9999Z',
  stopping: '2026-01-04T00:00:00Z',
};

before(async () => {
  const node = await aNode(server);
  for (const [name, fields] of Object.entries(jobs)) {
    const job = await admin.createJob(aJob({ title: name, ...fields }));
    uuids.set(name, job.uuid);
    if (name === 'pending') continue;
    const run = await place(server, job.uuid, node.id);
    if (name !== 'assigned') await report(server, run, running);
    if (name === 'completed' || name === 'failed') {
      await report(server, run, exited(name === 'failed' ? 1 : 0));
      await report(server, run, released);
    }
    if (name === 'stopping') await admin.stopJob(job.uuid);
  }
  for (const [name, at] of Object.entries(days)) {
    await database.query('update jobs set created_at = $1 where title = $2', [at, name]);
  }
});

async function titles(query: Record<string, string | number>): Promise<string> {
  const { data } = await admin.listJobs({ sort: 'created_at', ...query });
  return data.map((job) => job.title).join(' ');
}

const everyTitle = 'pending assigned running completed failed stopping';

const cases: [filter: string, value: string, expected: string][] = [
  ['status', 'PENDING', 'pending'],
  ['status', 'PENDING,RUNNING', 'pending running'],
  ['status', 'PREPARING,FAILING,CANCELLING', ''],
  ['status', 'PENDING,ASSIGNED,PREPARING,RUNNING', 'pending assigned running'],
  ['status', 'COMPLETED,FAILED,CANCELLED', 'completed failed stopping'],
  ['task', 'PERSISTENT', 'stopping'],
  ['task', 'BATCH,PERSISTENT', everyTitle],
  ['cpu_count', '2', 'assigned'],
  ['cpu_count', '2.5', 'running'],
  ['cpu_count', '2,4', 'assigned running completed'],
  ['cpu_count', '2.1,4.0', 'running completed'],
  ['gpu_count', '1', 'assigned'],
  ['gpu_count', '1,8', 'assigned'],
  ['min_ram_gb', '4,8', 'running failed'],
  ['min_storage_gb', '10', 'completed'],
  ['min_vram_gb', '8', 'assigned'],
  ['created_at', '2026-01-01', 'pending assigned'],
  ['created_at', '2026-01-01,2026-01-02', 'pending assigned running completed'],
  ['created_at', '2026-01-02T00:00:00Z,2026-01-03', 'running completed failed'],
  ['created_at', '2026-01-02T12:00:00.123Z', 'completed'],
  ['created_at', '2026-01-02T01:00:00+01:00,2026-01-02T01:00:00+01:00', 'running'],
  ['created_at', '2026-01-04T00:00:00,2026-01-05', 'stopping'],
  ['label', 'team=a', 'pending assigned'],
  ['label', 'team=a,stage=two', 'assigned'],
  ['label', 'team=none', ''],
  ['title', 'comp', 'completed'],
  ['title', 'ending', ''],
  ['title', '%', ''],
  ['teardown', 'requested', 'stopping'],
  ['teardown', 'verified,unverified', ''],
];
for (const [filter, value, expected] of cases) {
  test(`filter[${filter}]=${value} gives ${expected || 'nothing'}`, async () => {
    assert.equal(await titles({ [`filter[${filter}]`]: value }), expected);
  });
}

test('filters narrow each other', async () => {
  const both = { 'filter[cpu_count]': '2,8', 'filter[status]': 'RUNNING,FAILED' };
  assert.equal(await titles(both), 'running failed');
  const ids = `${uuids.get('failed')},${uuids.get('pending')}`;
  assert.equal(await titles({ 'filter[uuid]': ids }), 'pending failed');
  assert.equal(
    await titles({ 'filter[uuid]': ids.toUpperCase(), 'filter[task]': 'BATCH' }),
    'pending failed',
  );
});

test('newest first unless asked otherwise', async () => {
  const newestFirst = everyTitle.split(' ').reverse();
  assert.deepEqual(
    (await admin.listJobs()).data.map((job) => job.title),
    newestFirst,
  );
  assert.equal(await titles({ sort: '-created_at' }), newestFirst.join(' '));
  assert.equal(await titles({}), everyTitle);
});

test('pages join without gap or overlap, and totals count them all', async () => {
  const seen: string[] = [];
  for (const page of [1, 2, 3, 4]) {
    const list = await admin.listJobs({ limit: 2, page, sort: 'created_at' });
    assert.deepEqual([list.page, list.limit, list.total, list.total_is_exact], [page, 2, 6, true]);
    seen.push(...list.data.map((job) => job.title));
  }
  assert.equal(seen.join(' '), everyTitle);
  const plain = await admin.listJobs();
  assert.deepEqual([plain.page, plain.limit], [1, 20]);
  assert.equal((await admin.listJobs({ limit: 50 })).limit, 50);
  const beyond = await admin.listJobs({ page: Number.MAX_SAFE_INTEGER });
  assert.deepEqual([beyond.data, beyond.total], [[], 6]);
});

const refused: [query: Record<string, string>, path: string, expected: RegExp][] = [
  [{ 'filter[stauts]': 'RUNNING' }, 'filter[stauts]', /filter\[status\]/],
  [{ status: 'RUNNING' }, 'status', /filter\[status\]/],
  [{ order: 'asc' }, 'order', /limit, page, sort, filter\[status\], filter\[task\]/],
  [{ sort: 'title' }, 'sort', /created_at or -created_at/],
  [{ limit: '0' }, 'limit', /from 1 to 50/],
  [{ limit: '51' }, 'limit', /from 1 to 50/],
  [{ limit: '1.5' }, 'limit', /from 1 to 50/],
  [{ page: '0' }, 'page', /an integer/],
  [{ page: '9007199254740993' }, 'page', /an integer/],
  [{ 'filter[status]': 'DONE' }, 'filter[status]', /PENDING, ASSIGNED.*PREPARING/],
  [{ 'filter[uuid]': 'x' }, 'filter[uuid]', /UUID/],
  [{ 'filter[cpu_count]': 'many' }, 'filter[cpu_count]', /number/],
  [{ 'filter[cpu_count]': '1,2,3' }, 'filter[cpu_count]', /range/],
  [{ 'filter[created_at]': 'yesterday' }, 'filter[created_at]', /date/],
  [{ 'filter[created_at]': '2026-13-01' }, 'filter[created_at]', /date/],
  [{ 'filter[created_at]': '2026-02-30' }, 'filter[created_at]', /date/],
  [{ 'filter[label]': 'team' }, 'filter[label]', /key=value/],
  [{ 'filter[teardown]': 'done' }, 'filter[teardown]', /verified/],
];
for (const [query, path, expected] of refused) {
  test(`${queryOf(query)} is refused with what is allowed`, async () => {
    const issue = (await admin.issues('GET', `/v1/jobs${queryOf(query)}`)).get(path);
    assert.match(issue?.expected ?? '', expected);
  });
}

test('a misspelt filter is told the nearest one, and all that is wrong comes at once', async () => {
  const query = queryOf({ 'filter[stauts]': 'RUNNING', limit: 99, sort: 'x' });
  const issues = await admin.issues('GET', `/v1/jobs${query}`);
  assert.deepEqual([...issues.keys()], ['filter[stauts]', 'limit', 'sort']);
  assert.match(issues.get('filter[stauts]')?.hint ?? '', /filter\[status\]/);
});

test('totals are exact to 10,000 and an estimate beyond, and say which', async () => {
  const accountId = await server.createAccount('crowd');
  const crowd = server.client(await server.createKey({ accountId }));
  const insert = (count: number) =>
    database.query(
      `insert into jobs (id, account_id, created_at, updated_at, status, task, title, min_ram_gb, min_storage_gb,
         min_vram_gb, allowed_region_codes, container, max_timeout_assign_ms, max_timeout_start_ms, max_retry_count,
         max_node_count, labels, priority)
       select gen_random_uuid(), $1, now(), now(), 'COMPLETED', 'BATCH', 'crowd', 0, 0, 0, '{}',
         '{"image":"a","tag":"b","host":null,"user":null,"imagesrc":null,"ports":null,"sshkey":null,"allowed_ips":[],
           "volumes":[],"command":null,"entrypoint":null,"stop_signal":null,"stop_grace_ms":null}',
         300000, 300000, 0, 1, '{}', 0
       from generate_series(1, $2)`,
      [accountId, count],
    );
  await insert(10_000);
  const exact = await crowd.listJobs({ limit: 1 });
  assert.deepEqual([exact.total, exact.total_is_exact], [10_000, true]);
  await insert(500);
  const estimated = await crowd.listJobs({ limit: 1 });
  assert.equal(estimated.total_is_exact, false);
  assert.ok(estimated.total > 10_000);
});
