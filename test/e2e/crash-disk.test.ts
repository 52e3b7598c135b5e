// Disks that are full to the last byte: what was acknowledged stays, sentences say why, and nothing needs a restart.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '../../src/sdk/client.ts';
import { signRequest } from '../../src/sdk/sign.ts';
import { Registry } from '../images/support/registry.ts';
import { importProgram } from '../images/support/trees.ts';
import { docker, needsDocker } from './support/docker.ts';
import { askDatabase } from './support/embedded-database.ts';
import { type EngineNode, startEngineNode } from './support/engine-node.ts';
import { eventually } from './support/eventually.ts';
import { aScript, completeLog, createPlace, onlyRunOf, type Place, untilStatus } from './support/place.ts';
import { mountSmallDisk } from './support/small-disk.ts';

/** PostgreSQL's files at rest take some 60 MB. */
const databaseMegabytes = 120;

test(
  'a full disk under the database is a 503, loses no acknowledged job, and is over once there is space',
  needsDocker,
  async () => {
    const place = createPlace();
    const disk = mountSmallDisk(databaseMegabytes);
    symlinkSync(disk.folder, place.dataDirectory);
    try {
      const up = await place.up();
      const client = place.client();
      const ending = await client.jobs.create(aScript('echo begun; sleep 3; echo ended; exit 4'));
      await untilStatus(client, ending.uuid, 'RUNNING');
      disk.fill();
      const acknowledged = await submitUntilRefused(place);
      await useUpWriteAheadLog(place);
      const { status, text } = await submit(place);
      assert.equal(status, 503, text);
      await sleep(3_000);
      const logFile = join(place.dataDirectory, 'flotilla.log');
      const logBytes = statSync(logFile).size;
      disk.free();
      await eventually(
        'a submit to be taken again',
        async () => (await submit(place)).status === 201,
        60_000,
      );
      for (const uuid of acknowledged) await untilStatus(client, uuid, 'COMPLETED');
      await untilStatus(client, ending.uuid, 'FAILED');
      const run = await onlyRunOf(client, ending.uuid);
      assert.equal(run.exit_code, 4);
      assert.equal(await completeLog(client, run.uuid), 'begun\nended\n');
      assert.equal(up.hasEnded(), false, up.output());
      await eventually('the log to go on', async () => statSync(logFile).size > logBytes);
    } finally {
      await place.remove();
      disk.remove();
    }
  },
);

/** Placement counts a gigabyte for a job that does not say. */
const nodeMegabytes = 3_000;
const imageBytes = 20_000_000;

test(
  'a node whose disk is full fails what needs space with that word, and works again once there is some',
  needsDocker,
  async () => {
    const place = createPlace();
    const disk = mountSmallDisk(nodeMegabytes);
    const registry = new Registry({ isPrivate: false });
    let node: EngineNode | null = null;
    try {
      await Promise.all([place.server(), registry.start()]);
      importProgram('local/large:1', { extraBytes: imageBytes });
      await registry.publish('local/large:1', 'large:1');
      const options = { number: 3, region: 'eu-central-1', hasLiveRestore: false, folder: disk.folder };
      node = await startEngineNode(place, options);
      const host = await node.reach(registry.port);
      const pids = [node.agent.pid, node.engine.pid];
      const client = place.client();
      const container = { image: `${host}/large`, tag: '1', command: ['true'], ports: [] };
      const large = aScript('', { container });
      const quiet = await client.jobs.create(aScript('while :; do sleep 1; done'));
      await untilStatus(client, quiet.uuid, 'RUNNING');

      disk.fill(imageBytes / 4);
      await assertNoSpace(client, (await client.jobs.create(large)).uuid, /"10\.97\.3\.1:\d+\/large:1"/);
      disk.fill();
      await assertNoSpace(client, (await client.jobs.create(aScript('echo never'))).uuid, /the container/);
      const stopped = await client.jobs.cancel(quiet.uuid, { stop_grace_ms: 0, wait_ms: 20_000 });
      assert.equal(stopped.teardown?.state, 'verified', 'a stop needs no space');
      disk.free();
      for (const body of [large, aScript('echo again')]) {
        const { uuid } = await client.jobs.create(body);
        await untilStatus(client, uuid, 'COMPLETED');
      }
      await eventually('every container to be gone', async () => (await node?.docker('ps', '-aq')) === '');
      assert.deepEqual([node.agent.pid, node.engine.pid], pids, 'nothing was restarted');
      assertWhole(join(disk.folder, 'state'));
    } finally {
      await node?.remove();
      await place.remove();
      await registry[Symbol.asyncDispose]();
      disk.remove();
      await docker('rmi', 'local/large:1');
    }
  },
);

async function assertNoSpace(client: Client, uuid: string, what: RegExp): Promise<void> {
  const job = await untilStatus(client, uuid, 'FAILED');
  assert.equal(job.status_detail?.code, 'no_space', job.status_reason ?? '');
  assert.match(
    job.status_reason ?? '',
    /The node's disk is full, so .* could not be stored; run the job on another node/,
  );
  assert.match(job.status_reason ?? '', what);
}

/** Every file of the agent's state is JSON to its end. */
function assertWhole(folder: string): void {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.json'),
  );
  assert.ok(files.length > 0, 'the agent wrote its state');
  for (const name of files) JSON.parse(readFileSync(join(folder, name), 'utf8'));
}

/** Only 201 and 503 are answers; the uuids of the first kind. */
async function submitUntilRefused(place: Place): Promise<string[]> {
  const acknowledged: string[] = [];
  for (;;) {
    const { status, text } = await submit(place);
    if (status !== 201) {
      assert.equal(status, 503, text);
      const { error } = JSON.parse(text) as { error: { code: string; message: string } };
      assert.equal(error.code, 'unavailable');
      assert.match(error.message, /disk is full/);
      return acknowledged;
    }
    acknowledged.push((JSON.parse(text) as { uuid: string }).uuid);
  }
}

/** Until PostgreSQL panics, since it can write nothing more; it is started again and again meanwhile. */
async function useUpWriteAheadLog({ dataDirectory }: Place): Promise<void> {
  const write = "select pg_logical_emit_message(false, 'test', repeat('x', 1000000))";
  for (let written = 0; written < databaseMegabytes; written += 1) {
    try {
      await askDatabase(dataDirectory, write);
    } catch {
      return;
    }
  }
  assert.fail('more was written than there is space');
}

/** One signed POST, without any second try. */
async function submit(place: Place): Promise<{ status: number; text: string }> {
  const { url, public_key: publicKey, secret_key: secretKey } = place.adminKey();
  const body = JSON.stringify(aScript('true', { job: { description: 'x'.repeat(900) } }));
  const headers = signRequest({ key: { publicKey, secretKey }, method: 'POST', path: '/v1/jobs', body });
  const response = await fetch(`${url}/v1/jobs`, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body,
    signal: AbortSignal.timeout(20_000),
  });
  return { status: response.status, text: await response.text() };
}
