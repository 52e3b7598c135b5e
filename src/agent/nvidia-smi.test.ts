// nvidia-smi as a program: absent, failing, answering in part, and hanging in every way, which must not hang the agent.
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { NvidiaSmi, type NvidiaSmiOptions } from './nvidia-smi.ts';

const folder = mkdtempSync(join(tmpdir(), 'flotilla-smi-'));
after(() => rmSync(folder, { recursive: true }));

function smi(script: string, options: NvidiaSmiOptions = {}): NvidiaSmi {
  const command = join(folder, 'nvidia-smi');
  writeFileSync(command, `#!/bin/sh\n${script}\n`);
  chmodSync(command, 0o755);
  return new NvidiaSmi({ command, ...options });
}

const question = '--query-gpu=uuid';
const isDead = (pid: number) => /^State:\s*[ZX]/m.test(statusOf(pid));

function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return 'State: X';
  }
}

async function hasDied(pid: number): Promise<void> {
  for (let tries = 0; tries < 250 && !isDead(pid); tries += 1) await delay(20);
  assert.ok(isDead(pid), `process ${pid} is still there`);
}

/** The end of the one that hung is heard of a moment after it. */
async function answersAgain(asked: NvidiaSmi): Promise<void> {
  smi('echo GPU-aaaa');
  let answer = await asked.ask(question);
  for (let tries = 0; tries < 100 && answer.kind !== 'text'; tries += 1) {
    await delay(20);
    answer = await asked.ask(question);
  }
  assert.equal(answer.kind, 'text');
}

test('its lines are the answer, without what it says on stderr', async () => {
  assert.deepEqual(await smi('echo "GPU-aaaa"; echo careful >&2').ask(question), {
    kind: 'text',
    text: 'GPU-aaaa\n',
  });
});

test('absent, and failing with or without words', async () => {
  assert.deepEqual(await new NvidiaSmi({ command: join(folder, 'none') }).ask(question), { kind: 'absent' });
  const failures: [string, RegExp][] = [
    [
      'echo "NVIDIA-SMI has failed because it could not communicate"; exit 9',
      /check the GPU driver: NVIDIA-SMI has failed/,
    ],
    ['exit 3', /check the GPU driver: Command failed/],
    [
      'printf "Failed to initialize NVML: Driver/library version mismatch\\nNVML library version: 535.183\\n"; exit 18',
      /Driver\/library version mismatch \(the driver was updated under a running kernel: restart the machine\)$/,
    ],
  ];
  for (const [script, words] of failures) {
    const answer = await smi(script).ask(question);
    assert.match(answer.kind === 'failed' ? answer.why : '', words);
  }
});

test('a lost device does not take the others with it', async () => {
  const lost = 'Unable to determine the device handle for GPU0000:41:00.0: Unknown Error';
  assert.deepEqual(await smi(`echo GPU-aaaa; echo "${lost}" >&2; exit 15`).ask(question), {
    kind: 'text',
    text: `GPU-aaaa\n${lost}\n`,
  });
});

test('one that hangs is ended and told of, and the next question is asked anew', async () => {
  const asked = smi('echo $$ >"$0.pid"; exec sleep 600', { timeoutMs: 1_000 });
  const answer = await asked.ask(question);
  assert.match(answer.kind === 'failed' ? answer.why : '', /did not answer within 1 s/);
  await hasDied(Number(readFileSync(join(folder, 'nvidia-smi.pid'), 'utf8')));
  await answersAgain(asked);
});

test('a child of it that keeps its output open is not waited for', async () => {
  const asked = smi('sleep 600 & echo $! >"$0.child"; wait', { timeoutMs: 1_000 });
  assert.equal((await asked.ask(question)).kind, 'failed');
  const child = Number(readFileSync(join(folder, 'nvidia-smi.child'), 'utf8'));
  assert.equal(isDead(child), false, 'it outlives the answer');
  process.kill(child, 'SIGKILL');
});

test('while one cannot be ended, no other is started', async () => {
  const stuck: ChildProcess[] = [];
  const asked = smi('echo started >>"$0.starts"; exec sleep 600', {
    timeoutMs: 1_000,
    // As a process that waits in the kernel, which no signal ends.
    kill: (child) => void stuck.push(child),
  });
  await asked.ask(question);
  const answer = await asked.ask(question);
  assert.match(answer.kind === 'failed' ? answer.why : '', /process \d+\) hangs and cannot be ended/);
  assert.equal(readFileSync(join(folder, 'nvidia-smi.starts'), 'utf8'), 'started\n');
  const [child] = stuck;
  child?.kill('SIGKILL');
  await hasDied(child?.pid ?? 0);
  await answersAgain(asked);
});
