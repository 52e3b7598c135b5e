// The bulk stop: which jobs a filter means, what each call answers for, and that nothing is stopped by mistake.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { before, test } from 'node:test';
import { newId } from '../../src/main/ids.ts';
import type { CancelJobsBody, JobStops } from '../../src/protocol/job-stop.ts';
import { type ANode, aJob, aNode } from '../support/builders.ts';
import { type Client, queryOf } from '../support/client.ts';
import { exited, place, preparing, released, report, running } from '../support/runs.ts';
import { startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin, database } = server;
let node: ANode;

before(async () => {
  node = await aNode(server, { cpus: 1_000 });
});

/** Every test has an account of its own: a filter of one never means the jobs of another. */
async function anAccount(): Promise<Client> {
  const accountId = await server.createAccount(`account ${newId()}`);
  return server.client(await server.createKey({ preset: 'admin', accountId }));
}

async function submit(client: Client, fields: Parameters<typeof aJob>[0] = {}): Promise<string> {
  return (await client.createJob(aJob(fields))).uuid;
}

/** The account's statuses by title, as `a:PENDING b:RUNNING`. */
async function statuses(client: Client): Promise<string> {
  const { data } = await client.listJobs({ sort: 'created_at', limit: 50 });
  return data.map((job) => `${job.title}:${job.status}`).join(' ');
}

/** Everything of jobs, runs and events, to see that nothing changed. */
async function everything(): Promise<unknown> {
  return database.query(
    `select (select json_agg(j order by j.id) from jobs j)::text as jobs,
       (select json_agg(r order by r.id) from job_runs r)::text as runs, (select count(*) from job_events) as events`,
  );
}

test('without a filter nothing is stopped, unless all is said', async () => {
  const client = await anAccount();
  await submit(client, { title: 'a' });
  const before = await everything();
  const empty: object[] = [
    {},
    { filter: {} },
    { all: false },
    { filter: {}, all: false, dry_run: true },
    { reason: 'x' },
  ];
  for (const body of empty) {
    const issues = await client.issues('POST', '/v1/jobs/cancel', { body });
    assert.deepEqual([...issues.keys()], ['filter'], JSON.stringify(body));
  }
  assert.deepEqual([...(await client.issues('POST', '/v1/jobs/cancel')).keys()], ['filter']);
  const both = { filter: { status: 'PENDING' }, all: true };
  assert.deepEqual([...(await client.issues('POST', '/v1/jobs/cancel', { body: both })).keys()], ['all']);
  assert.deepEqual(await everything(), before);
  const { counts } = await client.stopJobs({ all: true });
  assert.deepEqual(counts, { stopped: 1, would_stop: 0, unchanged: 0, not_found: 0 });
  assert.equal(await statuses(client), 'a:CANCELLED');
});

test('a wrong filter is 400, names each field, and stops nothing', async () => {
  const client = await anAccount();
  await submit(client);
  const before = await everything();
  const wrong: Record<string, unknown[]> = {
    status: ['RUNING', '', ',', [], ['PENDING', ''], 7, null, 'pending'],
    task: ['batch', '', [], {}],
    uuid: [
      'x',
      '',
      [],
      [newId(), 'x'],
      Array.from({ length: 501 }, newId),
      Array.from({ length: 501 }, newId).join(),
    ],
    created_at: ['yesterday', '', '2026-02-30', ['2026-01-01', '2026-01-02', '2026-01-03'], []],
    older_than_ms: [0, -1, 0.5, '5', null, 1e16],
    title_prefix: ['', 'x'.repeat(257), ['a'], null],
    label: ['team', '', '=a', [], ['team=a', 'b'], { team: 'a' }],
  };
  for (const [field, values] of Object.entries(wrong)) {
    for (const value of values) {
      // What is right beside it does not make up for it.
      const body = { filter: { status: 'PENDING', task: 'BATCH', [field]: value } };
      const issues = await client.issues('POST', '/v1/jobs/cancel', { body });
      assert.match(
        [...issues.keys()].join(),
        new RegExp(`^filter\\.${field}(\\[\\d\\])?$`),
        JSON.stringify(value)?.slice(0, 80),
      );
    }
  }
  const body = {
    filter: { titel_prefix: 'a' },
    alle: true,
    reason: 7,
    stop_grace_ms: 300_001,
    dry_run: 'no',
  };
  const issues = await client.issues('POST', '/v1/jobs/cancel', { body });
  assert.deepEqual([...issues.keys()].sort(), [
    'alle',
    'dry_run',
    'filter.titel_prefix',
    'reason',
    'stop_grace_ms',
  ]);
  assert.match(issues.get('filter.titel_prefix')?.hint ?? '', /title_prefix/);
  assert.deepEqual(await everything(), before);
});

/** One account with a job of every kind, by title. */
async function aMixedAccount() {
  const client = await anAccount();
  const uuids: Record<string, string> = {};
  const add = async (title: string, fields: Record<string, unknown> = {}) => {
    uuids[title] = await submit(client, { title, ...fields });
    return uuids[title];
  };
  await add('pending-a', { labels: { team: 'a', stage: 'one' } });
  await add('pending,b', {
    task: 'PERSISTENT',
    max_timeout_run_ms: null,
    labels: { team: 'b', note: 'x,y' },
  });
  await place(server, await add('assigned', { labels: { team: 'a', stage: 'two' } }), node.id);
  await report(server, await place(server, await add('preparing'), node.id), preparing);
  await report(server, await place(server, await add('running%'), node.id), running);
  const done = await place(server, await add('completed', { labels: { team: 'a' } }), node.id);
  for (const event of [running, exited(0), released]) await report(server, done, event);
  await client.stopJob(await add('cancelled', { labels: { team: 'a' } }), { reason: 'before' });
  let day = 1;
  for (const title of Object.keys(uuids)) {
    const at = `2026-01-${String(day++).padStart(2, '0')}T12:00:00Z`;
    await database.query('update jobs set created_at = $1 where id = $2', [at, uuids[title]]);
  }
  return { client, uuids };
}

const live = ['pending-a', 'pending,b', 'assigned', 'preparing', 'running%'];
const filterCases: [filter: NonNullable<CancelJobsBody['filter']>, expected: string[]][] = [
  [{ status: 'PENDING' }, ['pending-a', 'pending,b']],
  [{ status: 'ASSIGNED,RUNNING' }, ['assigned', 'preparing', 'running%']],
  [{ status: ['PENDING', 'RUNNING'] }, ['pending-a', 'pending,b', 'running%']],
  [{ status: ['PREPARING', 'CANCELLED', 'COMPLETED'] }, []],
  [{ task: 'BATCH' }, ['pending-a', 'assigned', 'preparing', 'running%']],
  [{ task: ['PERSISTENT'] }, ['pending,b']],
  [{ label: 'team=a' }, ['pending-a', 'assigned']],
  [{ label: 'team=a,stage=two' }, ['assigned']],
  [{ label: ['team=b', 'note=x,y'] }, ['pending,b']],
  [{ title_prefix: 'p' }, ['pending-a', 'pending,b', 'preparing']],
  [{ title_prefix: 'pending,' }, ['pending,b']],
  [{ title_prefix: 'running%' }, ['running%']],
  [{ title_prefix: '%' }, []],
  [{ title_prefix: 'P' }, []],
  [{ created_at: '2026-01-02' }, ['pending,b']],
  [{ created_at: ['2026-01-02', '2026-01-03T12:00:00Z'] }, ['pending,b', 'assigned']],
  [{ older_than_ms: 1_000 }, live],
  [{ older_than_ms: 1e14 }, []],
  [
    { status: 'PENDING', task: 'BATCH', label: 'team=a', title_prefix: 'pend', created_at: '2026-01-01' },
    ['pending-a'],
  ],
];
for (const [filter, expected] of filterCases) {
  test(`${JSON.stringify(filter)} means ${expected.join(' and ') || 'none'}, as in the list`, async () => {
    const { client, uuids } = await aMixedAccount();
    const query = Object.entries(filter).map(([name, value]) => [`filter[${name}]`, String(value)]);
    if (!JSON.stringify(filter).includes('x,y')) {
      const { data } = await client.listJobs({ ...Object.fromEntries(query), sort: 'created_at' });
      const listed = data.filter((job) => live.includes(job.title));
      assert.deepEqual(
        listed.map((job) => job.title),
        expected,
      );
    }
    const before = await everything();
    const dry = await client.stopJobs({ filter, dry_run: true });
    assert.deepEqual(await everything(), before, 'a dry run changes nothing');
    assert.deepEqual(
      dry.jobs.map(({ title }) => title),
      expected,
    );
    assert.equal(dry.counts.would_stop, expected.length);
    const { jobs, ...rest } = await client.stopJobs({ filter, reason: 'bulk' });
    assert.deepEqual(jobs.map(({ title }) => title).sort(), [...expected].sort());
    assert.deepEqual(
      jobs.map(({ outcome }) => outcome),
      expected.map(() => 'stopped'),
    );
    assert.deepEqual(rest.counts, { stopped: expected.length, would_stop: 0, unchanged: 0, not_found: 0 });
    for (const [title, uuid] of Object.entries(uuids)) {
      const { status_reason: reason } = await client.getJob(uuid);
      assert.equal(reason === 'bulk', expected.includes(title), title);
    }
  });
}

test('a stopped job is as after a single stop: run, teardown, reason, event', async () => {
  const client = await anAccount();
  const one = await submit(client, { container: { stop_grace_ms: 700 } });
  const many = await submit(client, { container: { stop_grace_ms: 700 } });
  const runs = [];
  for (const uuid of [one, many]) runs.push(await place(server, uuid, node.id));
  for (const run of runs) await report(server, run, running);
  await client.stopJob(one, { reason: 'why' });
  const answer = await client.stopJobs({ filter: { uuid: many }, reason: 'why' });
  assert.deepEqual(answer.jobs, [
    { uuid: many, outcome: 'stopped', title: 'a job', previous_status: 'RUNNING', has_container: true },
  ]);
  assert.deepEqual([answer.object, answer.dry_run, answer.is_complete], ['job_stops', false, true]);
  assert.ok(Math.abs(Date.parse(answer.cut_off_at) - Date.now()) < 60_000);
  const shape = async (uuid: string) => {
    const { status, status_reason, status_detail, teardown } = await client.getJob(uuid);
    const [row] = await database.query<Record<string, unknown>>(
      `select r.status, r.desired, r.stop_grace_ms, r.status_reason, r.ports, r.token_sealed,
         extract(epoch from r.teardown_deadline_at - r.teardown_requested_at)::float8 as wait_seconds,
         (select json_agg(json_build_array(e.kind, e.from_status, e.to_status, e.actor, e.detail) order by e.id)
          from job_events e where e.job_id = j.id) as events
       from jobs j join job_runs r on r.id = j.last_run_id where j.id = $1`,
      [uuid],
    );
    const events = JSON.stringify(row?.events).replaceAll(/\d{4}-\d\d-\d\dT[^"]+/g, 'at');
    return { status, status_reason, status_detail, state: teardown?.state, ...row, events };
  };
  assert.deepEqual(await shape(many), await shape(one));
});

test('each named uuid is answered for: stopped, unchanged, or not found', async () => {
  const { client, uuids } = await aMixedAccount();
  const { 'pending-a': pending = '', completed = '', cancelled = '', assigned = '' } = uuids;
  const foreign = await submit(admin);
  const unknown = newId();
  const named = [
    cancelled,
    unknown.toUpperCase(),
    completed,
    foreign,
    pending,
    pending.toUpperCase(),
    assigned,
  ];
  const dry = await client.stopJobs({ filter: { uuid: named, status: 'PENDING' }, dry_run: true });
  const told = ({ jobs }: JobStops) =>
    Object.fromEntries(
      jobs.map(({ uuid, outcome, previous_status }) => [uuid, `${outcome} ${previous_status}`]),
    );
  const rest = {
    [completed]: 'unchanged COMPLETED',
    [cancelled]: 'unchanged CANCELLED',
    [assigned]: 'unchanged ASSIGNED',
    [unknown]: 'not_found null',
    [foreign]: 'not_found null',
  };
  assert.deepEqual(told(dry), { [pending]: 'would_stop PENDING', ...rest });
  const answer = await client.stopJobs({ filter: { uuid: named, status: 'PENDING' } });
  assert.deepEqual(told(answer), { [pending]: 'stopped PENDING', ...rest });
  assert.deepEqual(answer.counts, { stopped: 1, would_stop: 0, unchanged: 3, not_found: 2 });
  assert.equal((await client.getJob(cancelled)).status_reason, 'before', 'the first reason stands');
  assert.equal((await client.getJob(assigned)).status, 'ASSIGNED');
  assert.equal((await admin.getJob(foreign)).status, 'PENDING');
});

test('a repeat stops nothing more, and the first reason stands', async () => {
  const client = await anAccount();
  const uuid = await submit(client);
  assert.equal((await client.stopJobs({ all: true, reason: 'first' })).counts.stopped, 1);
  const stopped = await client.getJob(uuid);
  assert.equal((await client.stopJobs({ all: true, reason: 'second' })).counts.stopped, 0);
  assert.deepEqual(await client.getJob(uuid), stopped);
});

test('only the account of the key: never another’s, however wide the filter', async () => {
  const [mine, theirs] = [await anAccount(), await anAccount()];
  await submit(mine, { title: 'mine' });
  await submit(theirs, { title: 'theirs' });
  assert.equal((await mine.stopJobs({ all: true })).counts.stopped, 1);
  assert.equal(await statuses(theirs), 'theirs:PENDING');
});

test('a nonce stops once, and a dry run takes it too', async () => {
  const client = await anAccount();
  await submit(client, { title: 'a' });
  for (const dry_run of [true, false]) {
    const nonce = randomBytes(16).toString('hex');
    await client.ask('POST', '/v1/jobs/cancel', { body: { all: true, dry_run }, nonce });
    await submit(client, { title: 'b' });
    const refusal = await client.refusal('POST', '/v1/jobs/cancel', { body: { all: true }, nonce });
    assert.deepEqual([refusal.status, refusal.code], [401, 'nonce_reused']);
  }
  assert.equal(await statuses(client), 'a:CANCELLED b:CANCELLED b:PENDING');
});

test('nodes hear of it after the commit', async () => {
  const client = await anAccount();
  const run = await place(server, await submit(client), node.id);
  await report(server, run, running);
  const listener = await database.dedicatedClient();
  try {
    await listener.query('listen flotilla');
    const heard = new Promise<string>((resolve) => {
      listener.on('notification', ({ payload = '' }) => {
        if (payload.includes(node.id)) resolve(payload);
      });
    });
    await client.stopJobs({ all: true });
    assert.match(await heard, /"kind":"node"/);
  } finally {
    await listener.end();
  }
});

test('more than one statement takes: all of them, with the first thousand told', async () => {
  const client = await anAccount();
  const template = await submit(client, { title: 'template' });
  const count = 4_500;
  await database.query(
    `insert into jobs select (jsonb_populate_record(j, jsonb_build_object('id', gen_random_uuid()))).*
     from jobs j, generate_series(1, $2) where j.id = $1`,
    [template, count - 1],
  );
  const dry = await client.stopJobs({ filter: { title_prefix: 'temp' }, dry_run: true });
  assert.deepEqual([dry.counts.would_stop, dry.jobs.length], [count, 1_000]);
  const answer = await client.stopJobs({ filter: { title_prefix: 'temp' } });
  assert.deepEqual([answer.counts.stopped, answer.jobs.length, answer.is_complete], [count, 1_000, true]);
  assert.equal((await client.listJobs({ 'filter[status]': 'PENDING' })).total, 0);
  const [row] = await database.query<{ events: number }>(
    `select count(*) as events from job_events e join jobs j on j.id = e.job_id
     where j.title = 'template' and e.kind = 'stop_requested' and j.status = 'CANCELLED'`,
  );
  assert.equal(row?.events, count);
});

test('the list takes the two filters that came with it', async () => {
  const { client } = await aMixedAccount();
  const titles = async (query: Record<string, string>) =>
    (await client.listJobs({ ...query, sort: 'created_at' })).data.map((job) => job.title).join(' ');
  assert.equal(await titles({ 'filter[title_prefix]': 'c' }), 'completed cancelled');
  assert.equal(await titles({ 'filter[older_than_ms]': '99999999999999' }), '');
  for (const query of [
    { 'filter[title_prefix]': '' },
    { 'filter[title_prefix]': '\0' },
    { 'filter[older_than_ms]': '0' },
  ])
    assert.equal((await client.refusal('GET', `/v1/jobs${queryOf(query)}`)).status, 400);
});
