// Nodes in networks of their own: an agent that sleeps, a cable that is pulled, a drain; what runs where, and what ends.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { JobRun } from '../../src/protocol/job-run.ts';
import { counted, countingScript } from './support/counting.ts';
import { needsDocker } from './support/docker.ts';
import { eventually } from './support/eventually.ts';
import { createLab, type Lab, type LabNode } from './support/lab.ts';
import {
  aScript,
  completeLog,
  createPlace,
  onlyRunOf,
  type Place,
  runsOf,
  untilStatus,
} from './support/place.ts';

const run = promisify(execFile);
/** Long enough for a node to be cut off, stop its runs and be back before that. */
const lostAfterMs = 45_000;
/** The first node stops its runs after this time alone; the other keeps them. */
const cutOffMs = 6_000;

let place: Place;
let lab: Lab;

before(async () => {
  if (needsDocker.skip) return;
  place = createPlace();
  const image = execFileSync('docker', ['save', 'busybox:latest'], { maxBuffer: 64 * 1024 * 1024 });
  lab = await createLab(place.folder, {
    serverArgs: ['--node-lost-after', `${lostAfterMs / 1000}s`],
    agentArgs: (number) => (number === 1 ? ['--stop-when-cut-off', `${cutOffMs / 1000}s`] : []),
    importImages: (dockerHost) => void execFileSync('docker', ['-H', dockerHost, 'load'], { input: image }),
  });
});
after(async () => {
  await lab?.remove();
  await place?.remove();
});

function nodeAt(index: 0 | 1): LabNode {
  return lab.nodes[index] ?? assert.fail('two nodes');
}

/** State and run of the job's containers on the node, asked of its engine. */
async function containersOn({ dockerHost }: LabNode, jobUuid: string): Promise<string[]> {
  const filter = ['--filter', `label=flotilla.job=${jobUuid}`, '--format', '{{.State}}'];
  const { stdout } = await run('docker', ['-H', dockerHost, 'ps', '-a', ...filter]);
  return stdout.split('\n').filter(Boolean);
}

/** A running job on this node and no other. */
async function startOn(node: LabNode, wish: Parameters<typeof aScript>[1], script = countingScript) {
  const others = lab.nodes.filter((it) => it !== node);
  for (const { uuid } of others) await lab.client.nodes.cordon(uuid);
  const { uuid } = await lab.client.jobs.create(aScript(script, wish));
  await untilStatus(lab.client, uuid, 'RUNNING');
  for (const it of others) await lab.client.nodes.uncordon(it.uuid);
  assert.equal((await onlyRunOf(lab.client, uuid)).node_uuid, node.uuid);
  return uuid;
}

const service = { job: { task: 'PERSISTENT', on_node_lost: 'replace' } } as const;

async function untilNode({ uuid }: LabNode, status: string, limitMs = 120_000): Promise<void> {
  await eventually(
    `node ${uuid} to be ${status}`,
    async () => (await lab.client.nodes.get(uuid)).status === status,
    limitMs,
  );
}

/** What the API says of a run, but for what is evidence of its end and may come late. */
function decided({ teardown: _, updated_at: __, ...run }: JobRun) {
  return run;
}

test(
  'an agent that slept until its runs were given up changes nothing when it wakes, and its container goes',
  needsDocker,
  async () => {
    const [sleeper, other] = [nodeAt(1), nodeAt(0)];
    const uuid = await startOn(sleeper, service);
    sleeper.agent.kill('SIGSTOP');
    await untilNode(sleeper, 'unreachable');
    assert.equal((await lab.client.jobs.get(uuid)).status, 'RUNNING', 'unreachable alone ends nothing');
    await untilNode(sleeper, 'lost');
    const second = await eventually('the second run', async () => {
      const [, next] = await runsOf(lab.client, uuid);
      return next?.status === 'RUNNING' ? next : null;
    });
    assert.equal(second.node_uuid, other.uuid);
    const [first] = await runsOf(lab.client, uuid);
    assert.ok(first);
    assert.deepEqual([first.status, first.status_detail?.code], ['FAILED', 'node_lost']);
    assert.deepEqual(await containersOn(sleeper, uuid), ['running'], 'nobody is there to stop it');

    sleeper.agent.kill('SIGCONT');
    await eventually(
      'the old container to be gone',
      async () => {
        return (await containersOn(sleeper, uuid)).length === 0;
      },
      15_000,
    );
    await untilNode(sleeper, 'ready');
    await sleep(2_000);
    const [firstNow, secondNow] = await runsOf(lab.client, uuid);
    assert.ok(firstNow);
    assert.deepEqual(decided(firstNow), decided(first));
    assert.deepEqual([secondNow?.status, secondNow?.attempt], ['RUNNING', 2]);
    assert.equal((await lab.client.jobs.get(uuid)).status, 'RUNNING');
    assert.deepEqual(await containersOn(other, uuid), ['running']);
    const stopped = await lab.client.jobs.cancel(uuid, { wait_ms: 30_000, stop_grace_ms: 0 });
    assert.equal(stopped.teardown?.state, 'verified');
    assert.ok(counted(await completeLog(lab.client, second.uuid)) > 10);
  },
);

test(
  'a cable is pulled: a node keeps its work, or stops it after the time its operator gave',
  needsDocker,
  async () => {
    const [stopping, keeping] = [nodeAt(0), nodeAt(1)];
    const script = 'trap "echo bye; exit 3" TERM; echo begun; while :; do sleep 0.2; done';
    const once = await startOn(stopping, { job: { max_retry_count: 0 } }, script);
    const kept = await startOn(keeping, service);
    const cutAtMs = performance.now();
    for (const node of [stopping, keeping]) node.cut();
    await eventually('the run to be stopped', async () => {
      return (await containersOn(stopping, once))[0] === 'exited';
    });
    const aloneMs = performance.now() - cutAtMs;
    assert.ok(aloneMs > cutOffMs - 3_500, `stopped after ${Math.round(aloneMs)} ms`);
    assert.equal((await lab.client.jobs.get(once)).status, 'RUNNING', 'the server cannot know it yet');
    await untilNode(keeping, 'unreachable');
    assert.deepEqual(await containersOn(keeping, kept), ['running']);
    for (const node of [stopping, keeping]) node.mend();
    for (const node of [stopping, keeping]) await untilNode(node, 'ready');

    const failed = await eventually('the job to fail', async () => {
      const job = await lab.client.jobs.get(once);
      return job.status === 'FAILED' && job;
    });
    assert.equal(failed.status_detail?.code, 'cut_off');
    assert.match(failed.status_reason ?? '', /cut off from the server/);
    const ended = await onlyRunOf(lab.client, once);
    assert.deepEqual([ended.status, ended.exit_code], ['FAILED', 3]);
    assert.equal(await completeLog(lab.client, ended.uuid), 'begun\nbye\n');
    await eventually(
      'its container to be gone',
      async () => (await containersOn(stopping, once)).length === 0,
    );
    assert.equal((await lab.client.jobs.get(kept)).status, 'RUNNING');
    assert.equal((await onlyRunOf(lab.client, kept)).attempt, 1);
    await lab.client.jobs.cancel(kept, { wait_ms: 30_000, stop_grace_ms: 0 });
  },
);

test(
  'a drain moves what may move and ends the rest, with nothing left on the node',
  needsDocker,
  async () => {
    const [drained, other] = [nodeAt(0), nodeAt(1)];
    const moving = await startOn(drained, service);
    const once = await startOn(drained, { job: { max_retry_count: 0 } });
    const { uuid } = drained;
    await lab.client.nodes.drain(uuid, { deadline_ms: 0, reason: 'new disks' });
    const empty = await eventually('the node to be empty', async () => {
      const node = await lab.client.nodes.get(uuid);
      return node.drain === null && node;
    });
    assert.deepEqual([empty.status, empty.job_run_count], ['cordoned', 0]);
    for (const job of [moving, once]) assert.deepEqual(await containersOn(drained, job), []);
    const failed = await lab.client.jobs.get(once);
    assert.deepEqual([failed.status, failed.status_detail?.code], ['FAILED', 'node_drained']);
    await untilStatus(lab.client, moving, 'RUNNING');
    const [first, second] = await runsOf(lab.client, moving);
    assert.deepEqual([first?.status, first?.teardown?.state], ['FAILED', 'verified']);
    assert.equal(second?.node_uuid, other.uuid);
    await lab.client.jobs.cancel(moving, { wait_ms: 30_000, stop_grace_ms: 0 });
    await lab.client.nodes.uncordon(uuid);
  },
);

test('the agent of a removed node is told why, and goes on asking', needsDocker, async () => {
  const { uuid, name, agent } = nodeAt(1);
  const removed = await lab.client.nodes.remove(uuid, { reason: 'sold' });
  assert.equal(removed.status, 'removed');
  const log = join(place.folder, name, 'agent.log');
  await eventually('the refusal in its log', async () =>
    /The key of this node was revoked/.test(readFileSync(log, 'utf8')),
  );
  assert.equal(agent.exitCode, null);
});
