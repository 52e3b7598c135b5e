// A job in words: its status while it is being stopped, why it waits or ended, and the sections of `job get`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Job } from '../protocol/job.ts';
import type { JobRun } from '../protocol/job-run.ts';
import { isStopping, jobLines, jobReason, runText, statusWord, withoutLogLines } from './job-text.ts';

const createdAt = '2026-01-31T12:00:00.000Z';
const nowMs = Date.parse(createdAt) + 90_000;

function aJob(fields: Partial<Job> = {}): Job {
  return {
    object: 'job',
    uuid: '019582a6-27fc-731d-8000-000000000001',
    created_at: createdAt,
    updated_at: createdAt,
    status: 'PENDING',
    task: 'BATCH',
    title: 'train',
    description: null,
    cpu_count: 2,
    gpu_count: 1,
    gpu_name: 'RTX 4090',
    gpu_registry_uuid: null,
    min_ram_gb: 8,
    min_vram_gb: 0,
    min_storage_gb: 0,
    allowed_region_codes: [],
    parameters: {
      type: 'docker',
      parameters: {
        image: 'host:5000/team/train',
        tag: '2',
        host: '',
        user: '',
        secret: '',
        imagesrc: '',
        ports: [],
        env: { A: '1' },
        sshkey: '',
        allowed_ips: [],
        volumes: [],
        command: ['sh', '-c', 'a b'],
        entrypoint: null,
        stop_signal: null,
        stop_grace_ms: 5_000,
      },
    },
    timeout_assign_at_ms: null,
    started_at: null,
    completed_at: null,
    max_timeout_assign_ms: 300_000,
    max_timeout_run_ms: 3_600_000,
    max_timeout_start_ms: null,
    start_timeout_waits_for_pull: false,
    max_retry_count: 0,
    max_node_count: 1,
    on_node_lost: null,
    image_size_bytes: null,
    max_cost_usd: null,
    renew_within_ms: null,
    renew_by: null,
    idle_timeout_ms: null,
    container_access_tokens: [],
    status_reason: null,
    status_detail: null,
    source_recipe_uuid: null,
    source_recipe_version: null,
    endpoint_url: null,
    node_urls: [],
    labels: { team: 'x' },
    priority: 0,
    teardown: null,
    pending_reason: null,
    ...fields,
  };
}

function aRun(fields: Partial<JobRun> = {}): JobRun {
  return {
    object: 'job_run',
    uuid: '019582a6-27fc-731d-8000-0000000000a1',
    job_uuid: aJob().uuid,
    node_uuid: '019582a6-27fc-731d-8000-0000000000b1',
    attempt: 1,
    job_snapshot: { uuid: aJob().uuid, title: 'train' },
    status: 'RUNNING',
    status_reason: null,
    status_detail: null,
    created_at: createdAt,
    updated_at: createdAt,
    started_at_ms: null,
    ended_at_ms: null,
    duration_ms: 64_000,
    hourly_rate_usd: 0,
    node_urls: [],
    container_access_tokens: [],
    refused_connection_count: 0,
    exit_code: null,
    exit_signal: null,
    is_oom_killed: false,
    gpu_uuids: [],
    image_digest: null,
    progress: null,
    teardown: null,
    ...fields,
  };
}

test('a job counts as stopping until the end of its container is proved or given up', () => {
  const teardown = { requested_at: createdAt, deadline_at: null };
  const states = ['requested', 'signalled', 'killed', 'verified', 'unverified'] as const;
  const words = states.map((state) =>
    statusWord(aJob({ status: 'CANCELLED', teardown: { ...teardown, state } })),
  );
  const stopping = 'CANCELLED (stopping)';
  assert.deepEqual(words, [stopping, stopping, stopping, 'CANCELLED', 'CANCELLED']);
  assert.equal(isStopping(aJob()), false);
});

test('says why it waits while it waits, and why it ended after', () => {
  const pending = {
    code: 'vram',
    message: 'Needs 48 GB of VRAM.',
    excluded: { vram: 3 },
    nodes_considered: 3,
    would_fit: '3 nodes would fit at 40.',
  };
  assert.equal(jobReason(aJob({ pending_reason: pending })), 'Needs 48 GB of VRAM. 3 nodes would fit at 40.');
  assert.equal(jobReason(aJob({ pending_reason: { ...pending, would_fit: null } })), 'Needs 48 GB of VRAM.');
  const failed = aJob({ status: 'FAILED', status_reason: 'Exit code 3.', pending_reason: pending });
  assert.equal(jobReason(failed), 'Exit code 3.');
  assert.equal(jobReason(aJob()), null);
});

test('shows a job in sections, without what it does not have', () => {
  assert.deepEqual(jobLines(aJob(), [aRun({ attempt: 2 }), aRun({ status: 'FAILED' })], nowMs), [
    'Job:     train (019582a6-27fc-731d-8000-000000000001)',
    'Status:  PENDING',
    'Task:    BATCH',
    'Labels:  team=x',
    'Created: 2026-01-31T12:00:00.000Z (1m 30s ago)',
    '',
    'Needs:',
    '  CPU:  2',
    '  RAM:  8 GB',
    '  GPUs: 1 × RTX 4090',
    '',
    'Limits:',
    '  Find a node: 5m',
    '  Run:         1h',
    '',
    'Container:',
    '  Image:   host:5000/team/train:2',
    '  Command: "sh" "-c" "a b"',
    '  Env:     A=1',
    '  Ports:   none',
    '  Stop:    grace 5s',
    '',
    'Runs:',
    `  1. ${runText(aRun({ status: 'FAILED' }))}`,
    `  2. ${runText(aRun({ attempt: 2 }))}`,
  ]);
});

test('the last log lines stand apart from the reason', () => {
  const reason = 'The container exited with code 4. Last log lines:\nline 1\nline 2\u001b[2J\n';
  const lines = jobLines(aJob({ status: 'FAILED', status_reason: reason }), [], nowMs);
  assert.equal(lines[2], 'Reason:  The container exited with code 4.');
  assert.deepEqual(lines.slice(-4), ['', 'Last log lines:', '  line 1', '  line 2 [2J']);
  assert.equal(withoutLogLines('No log here.'), 'No log here.');
});

test('a run says how long, where and how it ended', () => {
  const place = 'on node 019582a6-27fc-731d-8000-0000000000b1';
  const id = '(019582a6-27fc-731d-8000-0000000000a1)';
  assert.equal(runText(aRun()), `RUNNING for 1m 4s ${place}  ${id}`);
  const ended = aRun({
    status: 'FAILED',
    ended_at_ms: 1,
    exit_code: 137,
    exit_signal: 'SIGKILL',
    status_reason: 'Too\nbig.',
  });
  assert.equal(runText(ended), `FAILED after 1m 4s ${place}, exit code 137, signal SIGKILL: Too big.  ${id}`);
});

test('ports and foreign text are shown without driving the terminal', () => {
  const url = {
    description: '80',
    hostname: 'h',
    port: 31_000,
    protocol: 'tcp' as const,
    tls: false,
    ready: true,
  };
  const lines = jobLines(
    aJob({
      title: 'a\u001b[2Jb',
      node_urls: [{ ...url }, { ...url, description: 'ssh', host_key_fingerprint: 'SHA256:abc' }],
    }),
    [],
    nowMs,
  );
  assert.equal(lines[0], 'Job:     a [2Jb (019582a6-27fc-731d-8000-000000000001)');
  assert.deepEqual(lines.slice(-3), [
    'Ports:',
    '  80: tcp://h:31000',
    '  ssh: ssh://h:31000  host key SHA256:abc',
  ]);
});

test('a stopped job says who stopped it, with which key and from where', () => {
  const by = { kind: 'key', key_uuid: 'k', public_key: 'pk_1', address: '10.0.0.7' };
  const stopped = aJob({ status: 'CANCELLED', status_detail: { code: 'stopped', text: 'x', by } });
  assert.ok(jobLines(stopped, [], nowMs).includes('Stopped: by key pk_1 from 10.0.0.7'));
  const failed = aJob({ status: 'FAILED', status_detail: { code: 'exited' } });
  assert.ok(!jobLines(failed, [], nowMs).some((line) => line.startsWith('Stopped:')));
});
