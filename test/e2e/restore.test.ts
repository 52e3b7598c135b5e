// A database that is restored to an earlier state, with its node and real containers, told by the admin and not told.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Node } from '../../src/protocol/node.ts';
import type { Client } from '../../src/sdk/client.ts';
import { type Command, runCommand } from './support/command.ts';
import { containersOf, needsDocker } from './support/docker.ts';
import { eventually } from './support/eventually.ts';
import { aScript, createPlace, onlyRunOf, type Place, untilStatus } from './support/place.ts';

let place: Place;
let server: Command;
let client: Client;

before(async () => {
  place = createPlace();
  if (needsDocker.skip) return;
  server = await place.server();
  await place.node();
  client = place.client();
});
after(() => place.remove());

const backup = () => join(place.folder, 'backup');
const database = () => join(place.dataDirectory, 'pg');

async function stopServer(): Promise<void> {
  server.signal('SIGTERM');
  await server.ended;
}

async function startServer(): Promise<void> {
  server = await place.server();
}

/** With owners and modes, as PostgreSQL wants them. */
function copy(from: string, to: string): void {
  execFileSync('rm', ['-rf', to]);
  execFileSync('cp', ['-a', from, to]);
}

async function aService(): Promise<string> {
  const { uuid } = await client.jobs.create(aScript('sleep 600', { job: { task: 'PERSISTENT' } }));
  await untilStatus(client, uuid, 'RUNNING');
  return uuid;
}

const statesOf = async (jobUuid: string) => (await containersOf(jobUuid)).map(({ state }) => state);

async function theNode(): Promise<Node> {
  const { data } = await client.nodes.list();
  return data[0] ?? assert.fail('a node');
}

function waitingNode(): Promise<Node> {
  return eventually('the node to wait for the word', async () => {
    const node = await theNode();
    return node.awaits_restore_word && node;
  });
}

async function accept(...args: string[]): Promise<string> {
  const key = ['--key-file', join(place.dataDirectory, 'admin-key.json')];
  const { code, output } = await runCommand(['node', 'accept-restore', ...args, ...key]);
  assert.equal(code, 0, output);
  return output;
}

test(
  'a database that lost jobs, and nobody said so: their containers stay until the word',
  needsDocker,
  async () => {
    const known = await aService();
    await stopServer();
    copy(database(), backup());
    await startServer();
    await eventually('the node', async () => (await theNode()).status === 'ready');
    const lost = await aService();
    const { uuid: lostRun } = await onlyRunOf(client, lost);
    await stopServer();
    copy(backup(), database());
    await startServer();

    const waiting = await waitingNode();
    assert.equal(waiting.status, 'cordoned');
    assert.match(waiting.status_reason ?? '', /restored to an earlier state/);
    await assert.rejects(client.jobs.get(lost), /There is no job/);
    const [orphan] = await eventually('the orphan', async () => {
      const { orphans } = await theNode();
      return orphans.length === 1 && orphans;
    });
    assert.deepEqual([orphan?.run_uuid, orphan?.state, orphan?.removal_at], [lostRun, 'running', null]);
    const { uuid: late } = await client.jobs.create(aScript('echo placed'));
    await sleep(8_000);
    assert.deepEqual(await statesOf(lost), ['running']);
    assert.equal((await client.jobs.get(late)).status, 'PENDING', 'no new work meanwhile');
    assert.equal((await client.jobs.get(known)).status, 'RUNNING');
    assert.deepEqual(await statesOf(known), ['running']);

    assert.match(await accept('far'), /1 container that the database does not know will be removed/);
    await eventually('its container to be gone', async () => (await statesOf(lost)).length === 0);
    await untilStatus(client, late, 'COMPLETED');
    const { orphans, awaits_restore_word: awaits } = await eventually('no orphan', async () => {
      const node = await theNode();
      return node.orphans.length === 0 && node;
    });
    assert.deepEqual([orphans, awaits], [[], false]);
    const stopped = await client.jobs.cancel(known, { wait_ms: 30_000, stop_grace_ms: 0 });
    assert.equal(stopped.teardown?.state, 'verified');
  },
);

test('told by the admin, every node waits, also one that lost nothing', needsDocker, async () => {
  const known = await aService();
  await stopServer();
  const { code, output } = await runCommand(['cluster', 'restored', '--data-dir', place.dataDirectory]);
  assert.equal(code, 0, output);
  assert.match(output, /generation is 2/);
  await startServer();
  const waiting = await waitingNode();
  assert.deepEqual(waiting.orphans, []);
  // What the database knows goes on and is stopped as ever.
  assert.equal((await client.jobs.get(known)).status, 'RUNNING');
  const stopped = await client.jobs.cancel(known, { wait_ms: 30_000, stop_grace_ms: 0 });
  assert.equal(stopped.teardown?.state, 'verified');
  assert.deepEqual(await statesOf(known), []);
  await accept('--all');
  const { uuid } = await client.jobs.create(aScript('echo again'));
  await untilStatus(client, uuid, 'COMPLETED');
  await stopServer();
  await startServer();
  await eventually('the node', async () => (await theNode()).status === 'ready');
  assert.equal((await theNode()).awaits_restore_word, false, 'the word stands');
});
