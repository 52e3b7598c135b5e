// Kill -9 of every part while jobs run: what was acknowledged is there, what runs goes on, and nothing runs twice.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '../../src/sdk/client.ts';
import { ConnectionError } from '../../src/sdk/errors.ts';
import { signRequest } from '../../src/sdk/sign.ts';
import type { Command } from './support/command.ts';
import { counted, countingScript } from './support/counting.ts';
import { containersOf, containersWith, needsDocker } from './support/docker.ts';
import { eventually } from './support/eventually.ts';
import { aScript, completeLog, createPlace, onlyRunOf, type Place, untilStatus } from './support/place.ts';

let place: Place;
let client: Client;
let running: Command;

before(async () => {
  place = createPlace();
  if (needsDocker.skip) return;
  running = await place.up();
  client = place.client();
});
after(() => place.remove());

async function startCounting(of: Client): Promise<{ uuid: string; containerId: string }> {
  const { uuid } = await of.jobs.create(aScript(countingScript, { job: { task: 'PERSISTENT' } }));
  await untilStatus(of, uuid, 'RUNNING');
  const [container] = await containersOf(uuid);
  assert.ok(container);
  return { uuid, containerId: container.id };
}

/** The container is the one it was, its job RUNNING on its first attempt. */
async function assertGoesOn(
  of: Client,
  { uuid, containerId }: { uuid: string; containerId: string },
): Promise<void> {
  assert.equal((await of.jobs.get(uuid)).status, 'RUNNING');
  const found = await containersOf(uuid);
  assert.deepEqual(
    found.map(({ id, state }) => [id, state]),
    [[containerId, 'running']],
  );
  assert.equal((await onlyRunOf(of, uuid)).attempt, 1);
}

/** Stops a counting job, proves that it is gone, and counts its whole log. */
async function stopCounting(of: Client, uuid: string): Promise<number> {
  const stopped = await of.jobs.cancel(uuid, { wait_ms: 30_000, stop_grace_ms: 0 });
  assert.equal(stopped.teardown?.state, 'verified');
  assert.deepEqual(await containersOf(uuid), []);
  return counted(await completeLog(of, (await onlyRunOf(of, uuid)).uuid));
}

/** Submits one job after another until the server is gone; the uuids it acknowledged. */
async function submitUntilGone(of: Client, label: string): Promise<string[]> {
  const acknowledged: string[] = [];
  for (;;) {
    try {
      const { uuid } = await of.jobs.create(aScript('echo once', { job: { labels: { batch: label } } }));
      acknowledged.push(uuid);
    } catch (error) {
      assert.ok(error instanceof ConnectionError, String(error));
      return acknowledged;
    }
  }
}

test(
  'kill -9 of server and agent loses no acknowledged job, no container and no line of log',
  needsDocker,
  async () => {
    const counting = await startCounting(client);
    const ends = [0, 7].map((code) => aScript(`echo begun; sleep 1; echo ended; exit ${code}`));
    const [good, bad] = await Promise.all(ends.map((body) => client.jobs.create(body)));
    assert.ok(good && bad);
    await Promise.all([good, bad].map(({ uuid }) => untilStatus(client, uuid, 'RUNNING')));
    const loops = ['a', 'b', 'c'].map((label) => submitUntilGone(client, label));
    await sleep(400);
    running.signal('SIGKILL');
    const acknowledged = (await Promise.all(loops)).flat();
    assert.ok(acknowledged.length >= 3, `only ${acknowledged.length} submits before the kill`);
    await sleep(1200);

    running = await place.up();
    client = place.client();
    await assertGoesOn(client, counting);
    await assertEnded(good.uuid, { status: 'COMPLETED', exitCode: 0 });
    await assertEnded(bad.uuid, { status: 'FAILED', exitCode: 7 });
    for (const uuid of acknowledged) {
      await untilStatus(client, uuid, 'COMPLETED');
      const run = await onlyRunOf(client, uuid);
      assert.equal(await completeLog(client, run.uuid), 'once\n');
    }
    const { total } = await client.jobs.list({ filter: { label: 'batch=a' } });
    assert.ok(total <= acknowledged.length + 1, 'an idempotency key made one job of several tries');
    assert.ok((await stopCounting(client, counting.uuid)) > 50);
    await eventually('every container to be gone', async () => (await ownContainers()).length === 0);
  },
);

async function assertEnded(uuid: string, end: { status: string; exitCode: number }): Promise<void> {
  const job = await eventually(`job ${uuid} to end`, async () => {
    const seen = await client.jobs.get(uuid);
    return seen.completed_at === null ? null : seen;
  });
  const run = await onlyRunOf(client, uuid);
  assert.deepEqual([job.status, run.status, run.exit_code], [end.status, end.status, end.exitCode]);
  assert.equal(await completeLog(client, run.uuid), 'begun\nended\n');
}

async function ownContainers() {
  const { node_uuid: nodeUuid } = JSON.parse(
    readFileSync(join(place.dataDirectory, 'node-key.json'), 'utf8'),
  );
  return containersWith(`flotilla.node=${nodeUuid}`);
}

/** The postmaster and all of its children at once, as a machine without memory would. */
function killPostgres(): void {
  const postmaster = place.postmasterPid();
  assert.ok(postmaster);
  const parentOf = (pid: number) => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  };
  const pids = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
  const children = pids.filter((pid) => {
    try {
      return parentOf(pid) === postmaster;
    } catch {
      return false;
    }
  });
  assert.ok(children.length > 3, 'PostgreSQL has its helpers');
  for (const pid of [postmaster, ...children]) process.kill(pid, 'SIGKILL');
}

/** The status of one signed GET, without any second try. */
async function statusOf(path: string): Promise<number> {
  const { url, public_key: publicKey, secret_key: secretKey } = place.adminKey();
  const headers = signRequest({ key: { publicKey, secretKey }, method: 'GET', path });
  const response = await fetch(`${url}${path}`, { headers, signal: AbortSignal.timeout(20_000) });
  await response.arrayBuffer();
  return response.status;
}

test(
  'kill -9 of PostgreSQL under requests: 503 at most, and it recovers by itself',
  needsDocker,
  async () => {
    const counting = await startCounting(client);
    const statuses: number[] = [];
    let isOver = false;
    const askers = [1, 2, 3].map(async () => {
      while (!isOver) statuses.push(await statusOf('/v1/jobs'));
    });
    await sleep(200);
    const before = place.postmasterPid();
    killPostgres();
    const uuid = (await client.jobs.create(aScript('echo after the crash'))).uuid;
    await untilStatus(client, uuid, 'COMPLETED');
    isOver = true;
    await Promise.all(askers);
    assert.deepEqual(
      [...new Set(statuses)].filter((status) => status !== 200 && status !== 503),
      [],
    );
    assert.equal(statuses.at(-1), 200);
    assert.notEqual(place.postmasterPid(), before);
    await assertGoesOn(client, counting);
    assert.equal(running.hasEnded(), false, running.output());
    assert.ok((await stopCounting(client, counting.uuid)) > 20);
  },
);

test(
  'server and node as separate processes survive kill -9 of either, and late reports are fenced',
  needsDocker,
  async () => {
    const other = createPlace();
    try {
      let server = await other.server();
      let node = await other.node();
      const far = other.client();
      const counting = await startCounting(far);

      const storm = await Promise.all([0, 1, 2, 3, 4, 5].map((code) => startShort(far, code)));
      server.signal('SIGKILL');
      await server.ended;
      await sleep(2000);
      server = await other.server();
      for (const { uuid, code } of storm) await assertShort(far, uuid, code);
      await assertGoesOn(far, counting);

      const late = await Promise.all([0, 3].map((code) => startShort(far, code)));
      node.signal('SIGKILL');
      await node.ended;
      const [stopped, left] = late;
      assert.ok(stopped && left);
      const cancelled = await far.jobs.cancel(stopped.uuid, { reason: 'while its agent was away' });
      assert.equal(cancelled.status, 'CANCELLED');
      await sleep(2000);
      node = await other.node();
      await assertShort(far, left.uuid, left.code);
      await assertGoesOn(far, counting);
      await assertCancelled(far, stopped.uuid);
      assert.ok((await stopCounting(far, counting.uuid)) > 100);
      for (const command of [node, server]) command.signal('SIGTERM');
      assert.deepEqual([(await node.ended).code, (await server.ended).code], [0, 0]);
    } finally {
      await other.remove();
    }
  },
);

async function startShort(of: Client, code: number): Promise<{ uuid: string; code: number }> {
  const { uuid } = await of.jobs.create(aScript(`echo begun; sleep 1.5; echo ended; exit ${code}`));
  await untilStatus(of, uuid, 'RUNNING');
  return { uuid, code };
}

async function assertShort(of: Client, uuid: string, code: number): Promise<void> {
  const status = code === 0 ? 'COMPLETED' : 'FAILED';
  await untilStatus(of, uuid, status);
  const run = await onlyRunOf(of, uuid);
  assert.deepEqual([run.status, run.exit_code], [status, code]);
  assert.equal(await completeLog(of, run.uuid), 'begun\nended\n');
}

/** What the agent reports of a run that was stopped while it was away is evidence, and changes nothing else. */
async function assertCancelled(of: Client, uuid: string): Promise<void> {
  const job = await eventually(`the teardown of ${uuid}`, async () => {
    const seen = await of.jobs.get(uuid);
    return seen.teardown?.state === 'verified' ? seen : null;
  });
  assert.deepEqual([job.status, job.status_reason], ['CANCELLED', 'while its agent was away']);
  assert.equal((await onlyRunOf(of, uuid)).status, 'CANCELLED');
  assert.deepEqual(await containersOf(uuid), []);
}
