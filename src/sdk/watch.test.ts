// Tests of waiting for a job and following a log, on a clock driven by hand.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Job } from '../protocol/job.ts';
import type { JobRun, JobRunLogs } from '../protocol/job-run.ts';
import type { Edge } from './call.ts';
import { ApiError, ConnectionError } from './errors.ts';
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
const aRun = (status: JobRun['status']) => ({ status });
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
  const job = await waitForJob({ edge, get }, { onStatus: ({ status }) => seen.push(status) });
  assert.equal(job.status, 'FAILED');
  assert.deepEqual(seen, ['PENDING', 'RUNNING', 'FAILED']);
});

test('a wait whose time is up says so and keeps the job', async () => {
  const { edge, clock } = handDrivenEdge();
  const waiting = waitForJob({ edge, get: answering(aJob('RUNNING')) }, { timeoutMs: 60_000 });
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
  assert.equal((await waitForJob({ edge, get }, {})).status, 'COMPLETED');
  await assert.rejects(waitForJob({ edge, get: answering<Job>(refused) }, {}), ConnectionError);
  assert.ok(clock.nowMs >= 60_000);
});

test('a refusal ends the wait at once', async () => {
  const { edge, clock } = handDrivenEdge();
  const get = answering<Job>(new ApiError({ status: 404, text: '' }));
  await assert.rejects(waitForJob({ edge, get }, {}), ApiError);
  assert.equal(clock.nowMs, 0);
});

test('follows from the offset it was given to the last byte, without a pause inside a backlog', async () => {
  const { edge, clock } = handDrivenEdge();
  const asked: number[] = [];
  const backlog = 'abcdefghij';
  const logs = async (offset: number) => {
    asked.push(offset);
    const text = backlog.slice(offset, offset + 3);
    return aPage(text, { offset, total_bytes: backlog.length, is_complete: true });
  };
  const pieces: string[] = [];
  const followed = await followLogs(
    { edge, logs, run: answering(aRun('COMPLETED')) },
    (page) => {
      pieces.push(page.text);
    },
    { offset: 1 },
  );
  assert.deepEqual(followed, { nextOffset: 10, isComplete: true });
  assert.equal(pieces.join(''), 'bcdefghij');
  assert.deepEqual(asked, [1, 4, 7]);
  assert.equal(clock.nowMs, 0);
});

test('hands on a gap, waits for each chunk, and ends only when the run has ended', async () => {
  const { edge } = handDrivenEdge();
  const gap = { from: 1, to: 9 };
  const logs = answering(
    aPage('a'),
    aPage('', { offset: 1, next_offset: 9, total_bytes: 10, gap }),
    aPage('z', { offset: 9, is_complete: true }),
    aPage('', { offset: 10, is_complete: true }),
  );
  const handled: unknown[] = [];
  const onChunk = async (page: JobRunLogs) => {
    await Promise.resolve();
    handled.push(page.gap ?? page.text);
  };
  const run = answering(aRun('RUNNING'), aRun('COMPLETED'));
  const followed = await followLogs({ edge, logs, run }, onChunk);
  assert.deepEqual(followed, { nextOffset: 10, isComplete: true });
  assert.deepEqual(handled, ['a', gap, 'z']);
});

test('an ended run whose last bytes never come is followed for a minute more', async () => {
  const { edge, clock } = handDrivenEdge();
  const logs = answering(aPage('a'), aPage('', { offset: 1 }));
  const followed = await followLogs({ edge, logs, run: answering(aRun('FAILED')) }, () => {});
  assert.deepEqual(followed, { nextOffset: 1, isComplete: false });
  assert.ok(clock.nowMs > 60_000 && clock.nowMs < 62_000);
});
