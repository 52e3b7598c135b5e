// How jobs end by themselves and by their limits, in real containers: each FAILED says why in words a user understands.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { CreateJobBody, Job } from '../../src/protocol/job.ts';
import type { JobRun } from '../../src/protocol/job-run.ts';
import type { Client } from '../../src/sdk/client.ts';
import { FakeRegistry } from '../agent/support/registry.ts';
import { containersWith, needsDocker } from './support/docker.ts';
import { moveClock } from './support/embedded-database.ts';
import { eventually } from './support/eventually.ts';
import {
  aScript,
  completeLog,
  createPlace,
  onlyRunOf,
  type Place,
  runsOf,
  untilStatus,
} from './support/place.ts';

let place: Place;
let client: Client;

before(async () => {
  place = createPlace();
  if (needsDocker.skip) return;
  await place.up();
  client = place.client();
});
after(async () => {
  if (!needsDocker.skip)
    await eventually('no container', async () => (await containersWith('flotilla.job')).length === 0);
  await place.remove();
});

async function outcomeOf(body: CreateJobBody): Promise<{ job: Job; run: JobRun; log: string }> {
  const { uuid } = await client.jobs.create(body);
  const job = await client.jobs.wait(uuid, { timeoutMs: 60_000 });
  const run = await onlyRunOf(client, uuid);
  return { job, run, log: await completeLog(client, run.uuid) };
}

/** FAILED, with a sentence, the code of its kind, and the same told of the run. */
async function assertFails(
  body: CreateJobBody,
  expected: { code: string; sentence: RegExp },
): Promise<JobRun> {
  const { job, run } = await outcomeOf(body);
  assert.deepEqual([job.status, run.status], ['FAILED', 'FAILED'], job.status_reason ?? '');
  assert.match(job.status_reason ?? '', expected.sentence);
  assert.equal(job.status_detail?.code, expected.code);
  assert.equal(run.status_reason, job.status_reason);
  return run;
}

test('an exit code fails the job, with the last lines of its log', needsDocker, async () => {
  const script = 'echo first; echo last words >&2; exit 41';
  const run = await assertFails(aScript(script), {
    code: 'exited',
    sentence: /^The container exited with code 41\.\nLast log lines:\n(.*\n)*last words/,
  });
  assert.deepEqual([run.exit_code, run.exit_signal, run.is_oom_killed], [41, null, false]);
});

test('a signal is named', needsDocker, async () => {
  const run = await assertFails(aScript('kill -SEGV $$'), { code: 'exited', sentence: /SIGSEGV/ });
  assert.deepEqual([run.exit_code, run.exit_signal], [139, 'SIGSEGV']);
});

/** As many programs with 2 GB each as are too many for the container; ends as the one that was killed. */
const hoard = `
  limit=$(cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null | head -n 1)
  for i in $(seq $((limit / 2000000000 + 1))); do dd if=/dev/zero of=/dev/null bs=2000M count=1 & pids="$pids $!"; done
  code=0; for pid in $pids; do wait $pid || code=$?; done; exit $code`;

test('a program that takes more memory than it has is told so', needsDocker, async () => {
  const body = aScript(hoard, { job: { min_ram_gb: 0.05 } });
  const run = await assertFails(body, { code: 'out_of_memory', sentence: /ran out of memory .*min_ram_gb/ });
  assert.deepEqual([run.exit_code, run.is_oom_killed], [137, true]);
});

test('a program that is not in the image is named', needsDocker, async () => {
  const container = { command: ['no-such-program', '--help'] };
  await assertFails(aScript('', { container }), { code: 'bad_command', sentence: /no-such-program/ });
});

test('an image that its registry does not have is named', needsDocker, async () => {
  const registry = await new FakeRegistry({}).listen();
  try {
    const container = { image: 'absent/app', tag: '9', host: registry.host };
    const body = aScript('true', { container });
    await assertFails(body, { code: 'image_not_found', sentence: /absent\/app:9/ });
  } finally {
    await registry.close();
  }
});

test('a registry that refuses the credentials is told, without the secret', needsDocker, async () => {
  const registry = await new FakeRegistry({ isPrivate: true }).listen();
  try {
    const container = { image: 'private/app', host: registry.host, user: 'me', secret: 'hunter2-e2e' };
    const { job } = await outcomeOf(aScript('true', { container }));
    assert.equal(job.status, 'FAILED');
    assert.match(job.status_reason ?? '', /credentials|refused|denied/i);
    assert.ok(!JSON.stringify(job).includes('hunter2-e2e'));
  } finally {
    await registry.close();
  }
});

test('env, and what Flotilla adds to it, reaches the program', needsDocker, async () => {
  const env = { GREETING: 'hello  $HOME "quoted" é', EMPTY: '', '9': 'nine' };
  const { job, run, log } = await outcomeOf(aScript('', { container: { env, command: ['env'] } }));
  const lines = log.split('\n');
  const expected = { ...env, FLOTILLA_JOB_UUID: job.uuid, FLOTILLA_RUN_UUID: run.uuid };
  for (const [name, value] of Object.entries(expected)) assert.ok(lines.includes(`${name}=${value}`), log);
});

test('command and entrypoint replace those of the image', needsDocker, async () => {
  const container = { entrypoint: ['echo', 'a  b'], command: ['c', '$HOME'] };
  assert.equal((await outcomeOf(aScript('', { container }))).log, 'a  b c $HOME\n');
  const alone = { entrypoint: ['sh', '-c', 'echo alone'], command: null };
  assert.equal((await outcomeOf(aScript('', { container: alone }))).log, 'alone\n');
});

test('jobs that run side by side keep their own logs and ends', needsDocker, async () => {
  const codes = [0, 1, 2, 3, 4, 5, 6, 7];
  const script = (code: number) => `for i in 1 2 3 4 5; do echo ${code} $i; sleep 0.05; done; exit ${code}`;
  const outcomes = await Promise.all(codes.map((code) => outcomeOf(aScript(script(code)))));
  for (const [code, { job, run, log }] of outcomes.entries()) {
    assert.deepEqual([job.status, run.exit_code], [code === 0 ? 'COMPLETED' : 'FAILED', code]);
    assert.equal(log, [1, 2, 3, 4, 5].map((line) => `${code} ${line}\n`).join(''));
  }
});

test(
  'a failed run is tried again as often as max_retry_count says, each try with its own log',
  needsDocker,
  async () => {
    const body = aScript('echo try $FLOTILLA_RUN_UUID; exit 4', { job: { max_retry_count: 2 } });
    const { uuid } = await client.jobs.create(body);
    const job = await client.jobs.wait(uuid, { timeoutMs: 60_000 });
    assert.deepEqual([job.status, job.status_detail?.exit_code], ['FAILED', 4]);
    const runs = await runsOf(client, uuid);
    assert.deepEqual(
      runs.map((run) => [run.attempt, run.status, run.exit_code]),
      [1, 2, 3].map((attempt) => [attempt, 'FAILED', 4]),
    );
    for (const run of runs) assert.equal(await completeLog(client, run.uuid), `try ${run.uuid}\n`);
  },
);

test(
  'a binary log comes back byte for byte where it is text, and never breaks the answer',
  needsDocker,
  async () => {
    const { job, log } = await outcomeOf(aScript("printf 'a\\377\\000b\\303\\251'"));
    assert.equal(job.status, 'COMPLETED');
    assert.match(log, /^a.+bé$/s);
  },
);

// Last, since it moves the clock for good.
test(
  'a BATCH job that runs longer than max_timeout_run_ms is stopped and fails; a PERSISTENT one goes on',
  needsDocker,
  async () => {
    const script = 'trap "echo stopped; exit 0" TERM; echo ready; while :; do sleep 0.05; done';
    const batch = await client.jobs.create(aScript(script, { job: { max_timeout_run_ms: 60_000 } }));
    const persistent = await client.jobs.create(aScript(script, { job: { task: 'PERSISTENT' } }));
    for (const { uuid } of [batch, persistent]) await untilStatus(client, uuid, 'RUNNING');
    await moveClock(place.dataDirectory, 61);
    const job = await client.jobs.wait(batch.uuid, { timeoutMs: 30_000 });
    assert.deepEqual([job.status, job.status_detail?.code], ['FAILED', 'run_timeout']);
    assert.match(job.status_reason ?? '', /max_timeout_run_ms/);
    const run = await onlyRunOf(client, batch.uuid);
    assert.equal(await completeLog(client, run.uuid), 'ready\nstopped\n');
    await eventually(
      'the proof of its end',
      async () => (await client.jobs.get(batch.uuid)).teardown?.state === 'verified',
    );
    assert.equal((await client.jobs.get(persistent.uuid)).status, 'RUNNING');
    const stopped = await client.jobs.cancel(persistent.uuid, { wait_ms: 30_000 });
    assert.equal(stopped.teardown?.state, 'verified');
  },
);
