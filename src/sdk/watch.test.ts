// Tests of waiting for a job and following a log, on a clock driven by hand.
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import type { Job } from '../protocol/job.ts';
import type { JobRunLogs } from '../protocol/job-run.ts';
import type { Edge } from './call.ts';
import { type Changes, changesOf } from './changes.ts';
import { ApiError, ConnectionError } from './errors.ts';
import { followStream } from './event-stream.ts';
import { followLogs } from './follow-logs.ts';
import { WaitTimeoutError, waitForJob } from './wait-for-job.ts';

type Answer<T> = T | Error;

function handDrivenEdge() {
  const clock = { nowMs: 0 };
  const edge: Edge = {
    nowMs: () => clock.nowMs,
    sleep: async (ms) => {
      clock.nowMs += ms;
    },
    random: () => 0,
    nonce: () => '0'.repeat(32),
  };
  return { clock, edge };
}

/** Gives the answers in order; the last one again and again. */
function answering<T>(...answers: Answer<T>[]): () => Promise<T> {
  let at = 0;
  return async () => {
    const answer = answers[Math.min(at, answers.length - 1)];
    at += 1;
    if (answer instanceof Error) throw answer;
    assert.ok(answer !== undefined);
    return answer;
  };
}

const aJob = (status: Job['status']) => ({ uuid: 'j1', status }) as Job;
const aMessage = (data: string) => ({ id: undefined, event: 'message', data });
const always: Changes = { next: async () => {}, close: () => {} };
const never: Changes = {
  next: (stop) => new Promise((resolve) => stop.addEventListener('abort', () => resolve())),
  close: () => {},
};
const refused = new ConnectionError('http://h', new Error('refused'));

function aPage(text: string, given: Partial<JobRunLogs> = {}): JobRunLogs {
  const offset = given.offset ?? 0;
  const end = offset + text.length;
  return {
    object: 'job_run_logs',
    job_run_uuid: 'r1',
    text,
    offset,
    next_offset: end,
    total_bytes: end,
    gap: null,
    is_complete: false,
    is_end_stored: null,
    ...given,
  };
}

test('waits to the end and tells each status once', async () => {
  const { edge } = handDrivenEdge();
  const seen: string[] = [];
  const get = answering(aJob('PENDING'), aJob('PENDING'), aJob('RUNNING'), aJob('FAILED'));
  const job = await waitForJob(
    { edge, get, changes: always },
    { onStatus: ({ status }) => seen.push(status) },
  );
  assert.equal(job.status, 'FAILED');
  assert.deepEqual(seen, ['PENDING', 'RUNNING', 'FAILED']);
});

test('a wait whose time is up says so and keeps the job', async () => {
  const { edge, clock } = handDrivenEdge();
  const waiting = waitForJob(
    { edge, get: answering(aJob('RUNNING')), changes: never },
    { timeoutMs: 60_000 },
  );
  await assert.rejects(
    waiting,
    (error) => error instanceof WaitTimeoutError && error.job.status === 'RUNNING',
  );
  assert.equal(clock.nowMs, 60_000);
});

test('a wait lives through a restart of the server, but not through its loss', async () => {
  const { edge, clock } = handDrivenEdge();
  const get = answering<Job>(
    aJob('RUNNING'),
    refused,
    new ApiError({ status: 503, text: '' }),
    aJob('COMPLETED'),
  );
  assert.equal((await waitForJob({ edge, get, changes: always }, {})).status, 'COMPLETED');
  await assert.rejects(
    waitForJob({ edge, get: answering<Job>(refused), changes: always }, {}),
    ConnectionError,
  );
  assert.ok(clock.nowMs >= 60_000);
});

test('a refusal ends the wait at once', async () => {
  const { edge, clock } = handDrivenEdge();
  const get = answering<Job>(new ApiError({ status: 404, text: '' }));
  await assert.rejects(waitForJob({ edge, get, changes: always }, {}), ApiError);
  assert.equal(clock.nowMs, 0);
});

test('a stream is read through cuts, resumed after the last id, until the server says it is complete', async () => {
  const { edge, clock } = handDrivenEdge();
  const asked: (string | undefined)[] = [];
  const connections: (Error | string[])[] = [
    ['retry: 1\n\nid: 1\nda', 'ta: {"a":1}\n\n:\n\nid: 2\nevent: rea', 'dy\ndata: x\ndata: y\n\n'],
    new Error('refused'),
    ['data: z\n\nevent: end\ndata: {"reason":"stopping"}\n\n'],
    ['event: end\ndata: {"reason":"complete"}\n\ndata: never\n\n'],
  ];
  const open = async (lastId: string | undefined) => {
    asked.push(lastId);
    const next = connections.shift();
    if (next === undefined || next instanceof Error) throw next;
    return Readable.from(next);
  };
  const seen = [];
  for await (const message of followStream({ edge, open, origin: 'http://h' })) seen.push(message);
  assert.deepEqual(
    seen.map(({ event, data }) => `${event} ${data}`),
    ['message {"a":1}', 'ready x\ny', 'message z', 'end {"reason":"stopping"}'],
  );
  assert.deepEqual(asked, [undefined, '2', '2', '2']);
  assert.equal(clock.nowMs, 3_000);
});

test('a stream that is refused, or that stays lost for a minute, ends with the error', async () => {
  const { edge, clock } = handDrivenEdge();
  const drain = async (error: Error) => {
    const open = () => Promise.reject(error);
    for await (const _message of followStream({ edge, open, origin: 'http://h' }))
      assert.fail('nothing comes');
  };
  await assert.rejects(drain(new ApiError({ status: 404, text: '' })), ApiError);
  assert.equal(clock.nowMs, 0);
  await assert.rejects(drain(new Error('refused')), ConnectionError);
  assert.ok(clock.nowMs >= 60_000);
});

test('a change that comes while one looks is not lost', async () => {
  const sent = Promise.withResolvers<void>();
  const changes = changesOf(async function* () {
    yield aMessage('a');
    await sent.promise;
    yield aMessage('b');
    await new Promise(() => {});
  });
  const { signal } = new AbortController();
  await changes.next(signal);
  await changes.next(AbortSignal.timeout(5));
  sent.resolve();
  await new Promise((resolve) => setTimeout(resolve, 5));
  await changes.next(signal);
  changes.close();
});

test('hands on the log with its gap, waits for each chunk, and tells where it ended', async () => {
  const gap = { from: 1, to: 9 };
  const pages = [
    aPage('a'),
    aPage('', { offset: 1, next_offset: 9, total_bytes: 10, gap }),
    aPage('z', { offset: 9, is_complete: true }),
  ];
  const asked: string[] = [];
  const follow = async function* (lastId: string) {
    asked.push(lastId);
    yield { id: undefined, event: 'other', data: 'no JSON' };
    for (const page of pages) yield aMessage(JSON.stringify(page));
  };
  const handled: unknown[] = [];
  const onChunk = async (page: JobRunLogs) => {
    await Promise.resolve();
    handled.push(page.gap ?? page.text);
  };
  const followed = await followLogs(follow, onChunk, { offset: 0 });
  assert.deepEqual(followed, { nextOffset: 10, isComplete: true });
  assert.deepEqual([handled, asked], [['a', gap, 'z'], ['0']]);
});
