// The pull of an image over a slow line as a person sees it: bytes, rate and time left, by the API and on the command line.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { runAgent } from '../../src/agent/agent.ts';
import { type Io, processIo } from '../../src/cli/io.ts';
import { runProgram } from '../../src/cli/program.ts';
import type { Roles } from '../../src/cli/roles.ts';
import { newId } from '../../src/main/ids.ts';
import type { JobRun, PullProgress } from '../../src/protocol/job-run.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import type { Node } from '../../src/protocol/node.ts';
import { docker } from '../agent/support/node.ts';
import { aJob } from '../support/builders.ts';
import { startTestServer } from '../support/server.ts';
import { Registry, SlowLine } from './support/registry.ts';
import { importProgram } from './support/trees.ts';

const bytes = 12_000_000;
const bytesPerSecond = 3_000_000;
const server = await startTestServer();
const { admin } = server;
const registry = new Registry({ isPrivate: false });
const line = new SlowLine(registry, bytesPerSecond);
const stop = new AbortController();
const quiet = () => {};
let agent: Promise<void> = Promise.resolve();

before(async () => {
  await registry.start();
  await line.start();
  importProgram('local/slow:1', { extraBytes: bytes });
  await registry.publish('local/slow:1', 'team/slow:1');
  await docker('rmi', 'local/slow:1');
  type Registered = Node & { key: { public_key: string; secret_key: string } };
  const node = await admin.ask<Registered>('POST', '/v1/nodes', { body: { name: 'node-1' } });
  const { public_key: publicKey, secret_key: secretKey } = node.key;
  const client = server.client({ publicKey, secretKey });
  agent = runAgent({
    nodeKey: { ...node.key, url: server.url, node_uuid: node.uuid },
    agentVersion: 'test',
    sessionUuid: newId(),
    engineSocket: null,
    signHeaders: (method, path) => client.sign(method, path),
    allowedRegistries: [line.host],
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    signal: stop.signal,
  });
});
after(async () => {
  stop.abort();
  await agent;
  await docker('rmi', '-f', `${line.host}/team/slow:1`);
  await line[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
});

const noRole = () => Promise.reject(new Error('no role is asked for'));
const noRoles: Roles = {
  version: 'test',
  up: noRole,
  server: noRole,
  nodeRun: noRole,
  keyRecover: noRole,
  clusterRestored: noRole,
};

/** `flotilla job logs --follow` until it ends by itself. */
async function followLogs(jobUuid: string, { isTTY }: { isTTY: boolean }) {
  const { publicKey, secretKey } = server.adminKey;
  const said = { stdout: '', stderr: '' };
  const io: Io = {
    ...processIo(),
    stdout: { write: (text) => (said.stdout += text) },
    stderr: { isTTY, write: (text) => (said.stderr += text) },
    env: { FLOTILLA_URL: server.url, FLOTILLA_PUBLIC_KEY: publicKey, FLOTILLA_SECRET_KEY: secretKey },
  };
  const code = await runProgram(['job', 'logs', '--follow', jobUuid], noRoles, io);
  return { code, ...said };
}

/** Every progress that the API showed while the run was PREPARING. */
async function watchProgress(jobUuid: string): Promise<PullProgress[]> {
  const seen: PullProgress[] = [];
  for (let tries = 0; tries < 600; tries += 1) {
    const { data } = await admin.ask<ListEnvelope<JobRun>>('GET', `/v1/job-runs?filter[job_uuid]=${jobUuid}`);
    const [run] = data;
    if (run?.progress) seen.push(run.progress);
    if (run !== undefined && run.status !== 'ASSIGNED' && run.status !== 'PREPARING') {
      assert.equal(run.progress, null, 'progress is of a preparation');
      return seen;
    }
    await delay(100);
  }
  return assert.fail('the run did not start');
}

test('a slow pull shows bytes, rate and time left on the run and in logs --follow, and the log after it', async () => {
  const container = {
    image: `${line.host}/team/slow`,
    tag: '1',
    command: ['/bin/sh', '-c', 'echo here it is'],
  };
  const { uuid } = await admin.createJob(aJob({ container }));
  const [terminal, pipe, seen] = await Promise.all([
    followLogs(uuid, { isTTY: true }),
    followLogs(uuid, { isTTY: false }),
    watchProgress(uuid),
  ]);

  const pulling = seen.filter(({ phase, total_bytes }) => phase === 'pulling' && total_bytes !== null);
  const received = pulling.map(({ received_bytes }) => received_bytes);
  assert.deepEqual(
    received,
    received.toSorted((a, b) => a - b),
  );
  assert.ok(new Set(received).size >= 3, `bytes moved on: ${received}`);
  const last = pulling.at(-1) ?? assert.fail(`progress with a total: ${JSON.stringify(seen)}`);
  const { total_bytes: total, bytes_per_second: rate, eta_ms: eta, received_bytes: got } = last;
  assert.ok(total !== null && total > bytes && total < bytes * 1.5, `${total} in all`);
  assert.ok(
    rate !== null && rate > bytesPerSecond / 4 && rate < bytesPerSecond * 4,
    `${rate} bytes a second`,
  );
  assert.equal(eta, Math.round(((total - got) * 1000) / rate));

  for (const { code, stdout } of [terminal, pipe]) assert.deepEqual([code, stdout], [0, 'here it is\n']);
  const bars = terminal.stderr.matchAll(
    /\[#*-*\] Pulling (\d+)% of 1\d(\.\d)? MB at [\d.]+ MB\/s, \d+s left/g,
  );
  assert.ok(new Set([...bars].map(([, share]) => share)).size >= 2, JSON.stringify(terminal.stderr));
  assert.ok(terminal.stderr.endsWith('\r\u001b[K'), 'the bar is gone before the log');
  assert.match(pipe.stderr, /^Pulling \d+% of 1\d(\.\d)? MB/m);
});
