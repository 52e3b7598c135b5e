// Every program of examples/, as a person runs it, against a real server and nodes played by hand.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';
import type { DesiredRun, RunEvent } from '../../src/protocol/agent-messages.ts';
import type { Job } from '../../src/protocol/job.ts';
import type { Webhook } from '../../src/protocol/webhook.ts';
import { released } from '../support/agent.ts';
import { createHandNodes, endsWith, runsNow } from '../support/hand-nodes.ts';
import { startTestServer } from '../support/server.ts';

const folder = resolve(import.meta.dirname, '../../examples');
const server = await startTestServer({ allowedWebhooks: ['127.0.0.1'] });
const { admin, adminKey } = server;
const nodes = createHandNodes(server);
const node = await nodes.connect();
after(() => nodes.close());

const env = {
  PATH: process.env.PATH,
  FLOTILLA_URL: server.url,
  FLOTILLA_PUBLIC_KEY: adminKey.publicKey,
  FLOTILLA_SECRET_KEY: adminKey.secretKey,
};
const tried = new Set<string>();
const limitMs = 60_000;

interface Running {
  /** The first match in what it wrote so far, or will write. */
  said: (pattern: RegExp) => Promise<RegExpExecArray>;
  ended: Promise<{ code: number | null; output: string }>;
  stop: () => void;
}

function run(name: string, args: string[] = [], more: Record<string, string> = {}): Running {
  tried.add(name);
  const words = ['--conditions=flotilla-source', join(folder, name), ...args];
  const options = { env: { ...env, ...more }, timeout: limitMs, killSignal: 'SIGKILL' } as const;
  const child = spawn(process.execPath, words, options);
  let output = '';
  let tell = () => {};
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      tell();
    });
  }
  let isOver = false;
  const ended = new Promise<{ code: number | null; output: string }>((done) => {
    child.on('close', (code) => {
      isOver = true;
      tell();
      done({ code, output });
    });
  });
  const said = async (pattern: RegExp) => {
    for (;;) {
      const match = pattern.exec(output);
      if (match !== null) return match;
      assert.ok(!isOver, `${name} ended without ${pattern}: ${output}`);
      await new Promise<void>((wake) => {
        tell = wake;
      });
    }
  };
  return { said, ended, stop: () => child.kill() };
}

/** The next order of a new run, or of a stop. */
async function order(desired: DesiredRun['desired']): Promise<DesiredRun> {
  for (;;) {
    const { runs } = await node.agent.next('desired', limitMs);
    const found = runs.find((it) => it.desired === desired);
    if (found !== undefined) return found;
  }
}

async function tell(of: DesiredRun, ...events: RunEvent[]): Promise<void> {
  for (const event of events) await node.agent.report(of, event);
}

async function log(of: DesiredRun, text: string, offset = 0): Promise<void> {
  const { run_uuid, attempt } = of;
  const bytes_base64 = Buffer.from(text).toString('base64');
  const place = { run_uuid, attempt, stream: 'stdout', offset, position: `p${offset}` } as const;
  node.agent.send({ type: 'log', ...place, bytes_base64 });
  await node.agent.next('log_ack');
}

async function aRunningJob(): Promise<{ job: Job; order: DesiredRun }> {
  const placed = await nodes.place(node);
  await tell(placed.order, runsNow);
  return placed;
}

test('submit-and-wait', async () => {
  const program = run('submit-and-wait.ts', ['busybox', 'echo', 'hello']);
  const placed = await order('run');
  assert.deepEqual(placed.container.command, ['echo', 'hello']);
  await tell(placed, runsNow);
  await program.said(/RUNNING/);
  await log(placed, 'hello\n');
  await tell(placed, endsWith(0), released);
  const { code, output } = await program.ended;
  assert.match(output, /RUNNING \nCOMPLETED \nhello\n/);
  assert.equal(code, 0, output);
});

test('submit-and-wait of a job that fails says why, and fails', async () => {
  const program = run('submit-and-wait.ts');
  const placed = await order('run');
  await tell(placed, runsNow, endsWith(3), released);
  const { code, output } = await program.ended;
  assert.match(output, /FAILED[\s\S]*code 3/);
  assert.equal(code, 1);
});

test('stop', async () => {
  const { job } = await aRunningJob();
  const program = run('stop.ts', [job.uuid]);
  const stopping = await order('stop');
  await tell(stopping, { ...endsWith(143), exit_signal: 'SIGTERM' } as RunEvent, released);
  const { code, output } = await program.ended;
  assert.match(output, /^CANCELLED verified\n {2}requested: done/);
  assert.equal(code, 0, output);
});

test('follow-logs', async () => {
  const { job, order: placed } = await aRunningJob();
  await log(placed, 'one\n');
  const program = run('follow-logs.ts', [job.uuid]);
  await program.said(/one\n/);
  await log(placed, 'two\n', 4);
  await program.said(/one\ntwo\n/);
  await tell(placed, endsWith(0), released);
  const { code, output } = await program.ended;
  assert.equal(output, 'one\ntwo\n8 bytes\n');
  assert.equal(code, 0);
});

test('cook', async () => {
  const program = run('cook.ts', ['SSH box', 'ssh_key=ssh-ed25519 AAAA me=you@example.com']);
  await program.said(/job .+ of SSH box/);
  const placed = await order('run');
  assert.equal(placed.container.env.SSH_PUBKEY, 'ssh-ed25519 AAAA me=you@example.com');
  await tell(placed, { ...runsNow, ports: [22] } as RunEvent);
  const { code, output } = await program.ended;
  assert.match(
    output,
    /ssh_key: ssh_key, default none\n {2}.*\n[\s\S]*job \S+ of SSH box, version 1\n(\w+\n)*running\n/,
  );
  assert.equal(code, 0, output);
  await admin.stopJob(placed.job_uuid);
  await tell(placed, endsWith(0), released);
});

test('webhook-receiver', async () => {
  const hook = (url: string) =>
    admin.ask<Webhook>('POST', '/v1/webhooks', { body: { url, kinds: ['exited'] } });
  // The port is known only when it listens, and the secret before that: a webhook moves.
  const { uuid, secret = '' } = await hook('http://127.0.0.1:9/');
  const program = run('webhook-receiver.ts', ['0'], { WEBHOOK_SECRET: secret });
  const [, port = ''] = await program.said(/port: (\d+)/);
  const url = `http://127.0.0.1:${port}/`;
  await admin.ask('PUT', `/v1/webhooks/${uuid}`, { body: { url } });
  const { job, order: placed } = await aRunningJob();
  await tell(placed, endsWith(0), released);
  await program.said(new RegExp(`exited ${job.uuid} COMPLETED`));
  const forged = await fetch(url, {
    method: 'POST',
    body: '{}',
    headers: { 'Flotilla-Signature': 't=1,v1=00' },
  });
  assert.equal(forged.status, 401);
  await program.said(/refused: /);
  await admin.ask('DELETE', `/v1/webhooks/${uuid}`);
  program.stop();
  await program.ended;
});

test('every example is tried', () => {
  assert.deepEqual([...tried].sort(), readdirSync(folder).sort());
});
