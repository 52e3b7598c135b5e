// Three servers and a node, each a process: servers are killed, paused and stopped, and nobody notices but the one hit.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '../../src/sdk/client.ts';
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts';
import { runCommand } from './support/command.ts';
import { counted, countingScript } from './support/counting.ts';
import { containersOf, needsDocker } from './support/docker.ts';
import { eventually } from './support/eventually.ts';
import { createFleet, type Fleet, type Replica } from './support/fleet.ts';
import { aScript, completeLog, onlyRunOf, untilStatus } from './support/place.ts';

let postgres: TestPostgres;
let fleet: Fleet;

before(async () => {
  if (needsDocker.skip) return;
  postgres = await startTestPostgres();
  const url = await postgres.createDatabase();
  const way = { url, directUrl: postgres.directUrl(url) };
  fleet = await createFleet([way, way, way], way.directUrl ?? url);
});
after(async () => {
  await fleet?.remove();
  await postgres?.stop();
});

interface Counting {
  uuid: string;
  containerId: string;
}

async function startCounting(client: Client): Promise<Counting> {
  const { uuid } = await client.jobs.create(aScript(countingScript, { job: { task: 'PERSISTENT' } }));
  await untilStatus(client, uuid, 'RUNNING');
  const [container] = await containersOf(uuid);
  assert.ok(container);
  return { uuid, containerId: container.id };
}

async function assertGoesOn(client: Client, { uuid, containerId }: Counting): Promise<void> {
  assert.equal((await client.jobs.get(uuid)).status, 'RUNNING');
  const found = (await containersOf(uuid)).map(({ id, state }) => [id, state]);
  assert.deepEqual(found, [[containerId, 'running']]);
  assert.equal((await onlyRunOf(client, uuid)).attempt, 1);
}

/** No line of its log was lost or doubled on its ways through several servers. */
async function stopCounting(client: Client, { uuid }: Counting): Promise<void> {
  const stopped = await client.jobs.cancel(uuid, { wait_ms: 30_000, stop_grace_ms: 0 });
  assert.equal(stopped.teardown?.state, 'verified');
  assert.deepEqual(await containersOf(uuid), []);
  assert.ok(counted(await completeLog(client, (await onlyRunOf(client, uuid)).uuid)) > 50);
}

function others(...replicas: Replica[]): Replica[] {
  return fleet.replicas.filter((replica) => replica.isUp && !replicas.includes(replica));
}

/** Submitted to one and watched through another, to the end of its only run. */
async function runsOnce(one: Replica, other: Replica): Promise<void> {
  const { uuid } = await one.client.jobs.create(aScript('echo ran once'));
  await untilStatus(other.client, uuid, 'COMPLETED');
  const run = await onlyRunOf(other.client, uuid);
  assert.equal(await completeLog(other.client, run.uuid), 'ran once\n');
}

async function kill(replica: Replica): Promise<void> {
  replica.isUp = false;
  replica.command.signal('SIGKILL');
  await replica.command.ended;
}

async function flotilla(replica: Replica, ...args: string[]): Promise<string> {
  const [first = '', second = '', ...rest] = args;
  const { code, output } = await runCommand([first, second, ...fleet.connection(replica), ...rest]);
  assert.equal(code, 0, output);
  return output;
}

test(
  'exec, files and logs go through every replica, wherever the node is connected',
  needsDocker,
  async () => {
    const [first] = fleet.replicas;
    assert.ok(first);
    const { uuid } = await first.client.jobs.create(
      aScript('echo began; while :; do sleep 0.1; done', { job: { task: 'PERSISTENT' } }),
    );
    await untilStatus(first.client, uuid, 'RUNNING');
    for (const [index, replica] of fleet.replicas.entries()) {
      const file = join(tmpdir(), `flotilla-fleet-${process.pid}-${index}`);
      writeFileSync(file, `through ${index}`);
      await flotilla(replica, 'job', 'cp', file, `${uuid}:/tmp/in`);
      assert.match(
        await flotilla(replica, 'job', 'exec', uuid, '--', 'cat', '/tmp/in'),
        new RegExp(`through ${index}`),
      );
      await flotilla(replica, 'job', 'cp', `${uuid}:/tmp/in`, `${file}.out`);
      assert.equal(readFileSync(`${file}.out`, 'utf8'), `through ${index}`);
      execFileSync('rm', [file, `${file}.out`]);
    }
    const [, second] = fleet.replicas;
    assert.ok(second);
    const following = flotilla(second, 'job', 'logs', '--follow', uuid);
    await sleep(500);
    await first.client.jobs.cancel(uuid, { stop_grace_ms: 0 });
    assert.match(await following, /began/);
  },
);

test(
  'kill -9 of the leader, then of whom the node is connected to: the last one carries all',
  needsDocker,
  async () => {
    const leader = await fleet.leader();
    const [witness] = others(leader);
    assert.ok(witness);
    const counting = await startCounting(witness.client);
    const killedAt = performance.now();
    await kill(leader);
    const heir = await fleet.leader();
    assert.notEqual(heir, leader);
    // Its lease is 5 s; the rest is for a busy machine.
    assert.ok(performance.now() - killedAt < 12_000, 'another leads within its lease');
    const [one, other] = others();
    assert.ok(one && other);
    await runsOnce(one, other);
    await kill(await fleet.holder());
    const [last] = others();
    assert.ok(last);
    await runsOnce(last, last);
    await assertGoesOn(last.client, counting);
    await stopCounting(last.client, counting);
    for (const replica of fleet.replicas) if (!replica.isUp) await replica.start();
  },
);

test(
  'a leader that is paused and wakes places nothing anew, and serves what the others did',
  needsDocker,
  async () => {
    const leader = await fleet.leader();
    const [one, other] = others(leader);
    assert.ok(one && other);
    const counting = await startCounting(one.client);
    leader.command.signal('SIGSTOP');
    leader.isUp = false;
    const submitted = await Promise.all(
      Array.from({ length: 5 }, () => one.client.jobs.create(aScript('echo while it slept'))),
    );
    assert.notEqual(await fleet.leader(), leader);
    for (const { uuid } of submitted) await untilStatus(other.client, uuid, 'COMPLETED');
    assert.notEqual(await fleet.holder(), leader);
    // Longer than any silence that agents and leases bear.
    await sleep(10_000);
    const [epoch] = await fleet.query<{ epoch: string }>(
      "select epoch from leaderships where name = 'scheduler'",
    );
    leader.command.signal('SIGCONT');
    leader.isUp = true;
    for (const { uuid } of submitted) {
      assert.equal((await leader.client.jobs.get(uuid)).status, 'COMPLETED');
      assert.equal((await onlyRunOf(leader.client, uuid)).attempt, 1);
    }
    await runsOnce(leader, one);
    await eventually('it to let go of the node', async () => !leader.hasAgent());
    assert.deepEqual(
      await fleet.query("select epoch from leaderships where name = 'scheduler'"),
      [epoch],
      'the heir leads on',
    );
    await assertGoesOn(leader.client, counting);
    await stopCounting(leader.client, counting);
  },
);

test('a server that is told to stop sends its node on and ends cleanly', needsDocker, async () => {
  const holder = await fleet.holder();
  const [witness] = others(holder);
  assert.ok(witness);
  const counting = await startCounting(witness.client);
  holder.isUp = false;
  holder.command.signal('SIGTERM');
  const next = await fleet.holder();
  assert.notEqual(next, holder);
  assert.equal((await holder.command.ended).code, 0);
  await runsOnce(witness, next);
  await assertGoesOn(witness.client, counting);
  await stopCounting(witness.client, counting);
  await holder.start();
  await runsOnce(holder, witness);
});
