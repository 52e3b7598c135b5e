// Job runs: list without logs, get with them, slices of the log by byte, caps and gaps, filters, durations.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { appendLogChunks, defaultLogCap, type LogCap } from '../../src/db/run-logs.ts';
import { newId } from '../../src/main/ids.ts';
import { type ANode, aJob, aNode } from '../support/builders.ts';
import { exited, type PlacedRun, place, preparing, released, report, running } from '../support/runs.ts';
import { setSqlClock, startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin, database } = server;
let node: ANode;

before(async () => {
  node = await aNode(server);
});

async function aRun(): Promise<PlacedRun & { jobId: string }> {
  const job = await admin.createJob(aJob({ title: 'has runs' }));
  return { ...(await place(server, job.uuid, node.id)), jobId: job.uuid };
}

/** Appends what the node's agent sends; answers how far the stream is stored. */
async function append(
  run: PlacedRun,
  content: string | Buffer,
  { offset = 0, stream = 'stdout', cap = defaultLogCap, nodeId = run.nodeId }: Partial<Append> = {},
): Promise<number | undefined> {
  const chunk = { runId: run.id, stream, offset, bytes: Buffer.from(content), position: `at ${offset}` };
  const [stored] = await appendLogChunks(database, { nodeId, chunks: [chunk], cap });
  return stored?.offset;
}

interface Append {
  offset: number;
  stream: 'stdout' | 'stderr';
  cap: LogCap;
  nodeId: string;
}

/** The whole log as a client reads it, slice by slice. */
async function readAll(run: PlacedRun, limit: number): Promise<string> {
  let text = '';
  let offset = 0;
  for (let round = 0; round < 10_000; round += 1) {
    const slice = await admin.getLogs(run.id, { offset, limit });
    text += slice.text;
    if (slice.next_offset >= slice.total_bytes) return text;
    assert.ok(slice.next_offset > offset, `no progress at ${offset}`);
    offset = slice.next_offset;
  }
  return assert.fail('the log has no end');
}

test('the list has no logs, one run has them; both show the same otherwise', async () => {
  const run = await aRun();
  await append(run, 'hello\n');
  const { data } = await admin.listRuns({ 'filter[job_uuid]': run.jobId, limit: 10 });
  const [listed] = data;
  assert.ok(listed && !('logs' in listed));
  const { logs, ...shown } = await admin.getRun(run.id);
  assert.equal(logs, 'hello\n');
  assert.deepEqual({ ...shown, duration_ms: null }, { ...listed, duration_ms: null });
  assert.deepEqual(shown.job_snapshot, { uuid: run.jobId, title: 'has runs' });
  assert.deepEqual([shown.object, shown.attempt, shown.status], ['job_run', 1, 'ASSIGNED']);
});

test('the older path jobs-runs answers the same', async () => {
  const run = await aRun();
  const path = `?filter[job_uuid]=${run.jobId}`;
  const older = await admin.ask<{ data: object[] }>('GET', `/v1/jobs-runs${path}`);
  assert.deepEqual(older, await admin.ask('GET', `/v1/job-runs${path}`));
  assert.equal(older.data.length, 1);
});

test('filters by job, status, run and node; words of jobs are known; newest first', async () => {
  const other = await aNode(server);
  const job = await admin.createJob(aJob({ max_retry_count: 3 }));
  const first = await place(server, job.uuid, node.id);
  await report(server, first, running);
  await report(server, first, exited(1));
  await report(server, first, released);
  const second = await place(server, job.uuid, other.id);
  const found = async (query: Record<string, string>) =>
    (await admin.listRuns({ 'filter[job_uuid]': job.uuid, ...query })).data.map((run) => run.uuid);
  assert.deepEqual(await found({}), [second.id, first.id]);
  assert.deepEqual(await found({ sort: 'created_at' }), [first.id, second.id]);
  assert.deepEqual(await found({ 'filter[status]': 'ASSIGNED,PREPARING,RUNNING' }), [second.id]);
  assert.deepEqual(await found({ 'filter[status]': 'PENDING' }), []);
  assert.deepEqual(await found({ 'filter[status]': 'FAILED,PENDING' }), [first.id]);
  assert.deepEqual(await found({ 'filter[node_uuid]': other.id }), [second.id]);
  assert.deepEqual(await found({ 'filter[uuid]': first.id }), [first.id]);
  assert.equal((await admin.getRun(second.id)).attempt, 2);
  const issues = await admin.issues('GET', '/v1/job-runs?filter[job_uid]=x&filter[status]=DONE');
  assert.match(issues.get('filter[job_uid]')?.hint ?? '', /filter\[job_uuid\]/);
  assert.match(issues.get('filter[status]')?.expected ?? '', /PREPARING/);
});

test('duration grows while the container runs and is final at its end', async () => {
  const run = await aRun();
  await report(server, run, preparing);
  const waiting = await admin.getRun(run.id);
  assert.deepEqual([waiting.status, waiting.duration_ms, waiting.started_at_ms], ['PREPARING', null, null]);
  await report(server, run, running);
  const early = (await admin.getRun(run.id)).duration_ms ?? -1;
  await setSqlClock(server, 5_000);
  const later = (await admin.getRun(run.id)).duration_ms ?? -1;
  assert.ok(early >= 0 && later - early >= 5_000 && later - early < 60_000, `${early}, then ${later} ms`);
  await report(server, run, exited(0));
  const ended = await admin.getRun(run.id);
  await setSqlClock(server, 60_000);
  const after = await admin.getRun(run.id);
  await setSqlClock(server, 0);
  assert.equal(after.duration_ms, ended.duration_ms);
  assert.equal(after.duration_ms, (after.ended_at_ms ?? 0) - (after.started_at_ms ?? 0));
  assert.deepEqual([after.status, after.exit_code, after.is_oom_killed], ['COMPLETED', 0, false]);
});

test('the image pull is shown in bytes while PREPARING, and not after', async () => {
  const run = await aRun();
  const progress = { phase: 'pulling', received_bytes: 5, total_bytes: 10, bytes_per_second: 1.5, eta_ms: 3 };
  await report(server, run, { kind: 'preparing', progress });
  assert.deepEqual((await admin.getRun(run.id)).progress, progress);
  await report(server, run, running);
  assert.equal((await admin.getRun(run.id)).progress, null);
});

test('chunks are stored by offset: an overlap once, a hole not at all', async () => {
  const run = await aRun();
  assert.equal(await append(run, '0123456789'), 10);
  assert.equal(await append(run, '56789abc', { offset: 5 }), 13);
  assert.equal(await append(run, '0123', { offset: 0 }), 13);
  assert.equal(await append(run, 'xyz', { offset: 20 }), 13, 'the agent is told where to go on');
  assert.equal(await append(run, '', { offset: 13 }), 13);
  assert.equal((await admin.getRun(run.id)).logs, '0123456789abc');
});

test('stdout and stderr have offsets of their own and one log, in the order they came', async () => {
  const run = await aRun();
  await append(run, 'out 1\n');
  await append(run, 'err 1\n', { stream: 'stderr' });
  assert.equal(await append(run, 'out 2\n', { offset: 6 }), 12);
  assert.equal((await admin.getRun(run.id)).logs, 'out 1\nerr 1\nout 2\n');
});

test('another node adds nothing to a log', async () => {
  const run = await aRun();
  const stranger = await aNode(server);
  assert.equal(await append(run, 'forged', { nodeId: stranger.id }), undefined);
  assert.equal((await admin.getRun(run.id)).logs, '');
});

test('a slice tells where it is, what follows and whether more can come', async () => {
  const run = await aRun();
  const none = await admin.getLogs(run.id);
  assert.deepEqual([none.text, none.total_bytes, none.is_complete], ['', 0, false]);
  await append(run, 'abcdefghij');
  const slice = await admin.getLogs(run.id, { offset: 3, limit: 4 });
  assert.deepEqual(slice, {
    ...{ object: 'job_run_logs', job_run_uuid: run.id, text: 'defg', offset: 3, next_offset: 7 },
    ...{ total_bytes: 10, gap: null, is_complete: false, is_end_stored: null },
  });
  const beyond = await admin.getLogs(run.id, { offset: 100 });
  assert.deepEqual([beyond.text, beyond.total_bytes], ['', 10]);
  await report(server, run, running);
  await report(server, run, exited(0));
  assert.equal((await admin.getLogs(run.id)).is_complete, false, 'the container is still there');
  await report(server, run, released);
  assert.equal((await admin.getLogs(run.id)).is_complete, true);
  assert.equal((await admin.getLogs(run.id, { limit: 4 })).is_complete, false);
});

test('text is whole whatever the slices cut', async () => {
  const run = await aRun();
  const text = 'aé€🚀 日本語 🏳️‍🌈\n'.repeat(20);
  const bytes = Buffer.from(text);
  let offset = 0;
  for (const size of [1, 2, 3, 5, 7, 11, 400, 10_000]) {
    offset = (await append(run, bytes.subarray(offset, offset + size), { offset })) ?? 0;
  }
  assert.equal(offset, bytes.length);
  assert.equal((await admin.getRun(run.id)).logs, text);
  for (const limit of [4, 5, 7, 64]) assert.equal(await readAll(run, limit), text, `slices of ${limit}`);
  for (const limit of [1, 2, 3]) assert.equal(await readAll(run, limit), text, `slices of ${limit}`);
});

test('bytes that are no text do not stop a reader', async () => {
  const run = await aRun();
  const bytes = Buffer.from([0, 0xff, 0xfe, 0x80, 0x80, 0x80, 0x80, 0xf0, 0x9f, 0x41, 0xc3]);
  await append(run, bytes);
  await report(server, run, running);
  await report(server, run, exited(0));
  await report(server, run, released);
  const text = await readAll(run, 4);
  assert.ok(text.startsWith('\0') && text.includes('A'));
  assert.equal((await admin.getLogs(run.id)).is_complete, true);
  assert.equal((await admin.getRun(run.id)).logs, bytes.toString('utf8'));
});

test('a log beyond its cap keeps head and tail, and says what is left out', async () => {
  const run = await aRun();
  const cap = { headBytes: 1_000, tailBytes: 2_000_000 };
  const line = (index: number) => `line ${String(index).padStart(6, '0')} ${'x'.repeat(85)}\n`;
  const lines = 60_000;
  let offset = 0;
  for (let from = 0; from < lines; from += 600) {
    const chunk = Array.from({ length: 600 }, (_, index) => line(from + index)).join('');
    offset = (await append(run, chunk, { offset, cap })) ?? 0;
  }
  const first = await admin.getLogs(run.id, { limit: 200 });
  const { gap, total_bytes: total } = first;
  assert.equal(total, lines * line(0).length);
  assert.ok(gap && gap.from >= cap.headBytes && gap.to <= total - cap.tailBytes, JSON.stringify(gap));
  assert.ok(total - gap.to < cap.tailBytes + 2 * 1024 * 1024, 'the middle was dropped');
  assert.ok(first.text.startsWith(line(0)));
  const inside = await admin.getLogs(run.id, { offset: gap.from + 5, limit: 100 });
  assert.equal(inside.offset, gap.to, 'inside the gap the slice begins at its end');
  const across = await admin.getLogs(run.id, { offset: gap.from - 50, limit: 1_000 });
  assert.deepEqual([across.offset, across.next_offset], [gap.from - 50, gap.from]);
  const last = await admin.getLogs(run.id, { offset: total - line(0).length });
  assert.equal(last.text, line(lines - 1));
  const { logs } = await admin.getRun(run.id);
  assert.ok(logs.startsWith(line(0)) && logs.endsWith(line(lines - 1)));
  assert.match(logs, new RegExp(`\\n\\[${gap.to - gap.from} bytes left out\\]\\n`));
});

test('wrong offsets and limits are told', async () => {
  const run = await aRun();
  const issues = await admin.issues('GET', `/v1/job-runs/${run.id}/logs?offset=-1&limit=0&tail=5`);
  assert.deepEqual([...issues.keys()], ['offset', 'limit', 'tail']);
});

test('an unknown run is 404', async () => {
  for (const path of [newId(), 'x', `${newId()}/logs`]) {
    assert.equal((await admin.refusal('GET', `/v1/job-runs/${path}`)).status, 404);
  }
});

test('right after a submit the list waits for a pass, but not for long when none comes', async () => {
  await admin.createJob(aJob());
  const startedAt = performance.now();
  await admin.listRuns();
  const waitedMs = performance.now() - startedAt;
  assert.ok(waitedMs >= 100, `${waitedMs} ms: nobody schedules here, so it waits for its 200 ms`);
  const accountId = await server.createAccount('idle');
  const idle = server.client(await server.createKey({ accountId }));
  assert.deepEqual((await idle.listRuns()).data, []);
});
