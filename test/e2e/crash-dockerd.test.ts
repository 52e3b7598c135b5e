// Kill -9 of the container engine, with and without live-restore: what lives on is adopted, what dies says why.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Client } from '../../src/sdk/client.ts';
import type { Command } from './support/command.ts';
import { counted, countingScript } from './support/counting.ts';
import { needsDocker } from './support/docker.ts';
import { type EngineNode, startEngineNode } from './support/engine-node.ts';
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
import { tryTcp } from './support/tcp.ts';

let place: Place;
let server: Command;
let client: Client;
let restoring: EngineNode;
let plain: EngineNode;

before(async () => {
  if (needsDocker.skip) return;
  place = createPlace();
  server = await place.server();
  client = place.client();
  [restoring, plain] = await Promise.all([
    startEngineNode(place, { number: 1, region: 'eu-central-1', hasLiveRestore: true }),
    startEngineNode(place, { number: 2, region: 'us-east-1', hasLiveRestore: false }),
  ]);
});
after(async () => {
  await Promise.all([restoring?.remove(), plain?.remove()]);
  await place?.remove();
});

type Wish = Parameters<typeof aScript>[1];

/** RUNNING on that node. */
async function startOn(node: EngineNode, script: string, { job, container }: NonNullable<Wish> = {}) {
  const body = aScript(script, {
    job: { ...job, allowed_region_codes: [node.region] },
    container: { ...container },
  });
  const { uuid } = await client.jobs.create(body);
  await untilStatus(client, uuid, 'RUNNING');
  return uuid;
}

/** The container of the job on that node: its id, its first process, its state. */
async function containerOf(node: EngineNode, jobUuid: string): Promise<string> {
  const id = await node.docker('ps', '-aq', '--no-trunc', '--filter', `label=flotilla.job=${jobUuid}`);
  return id === '' ? '' : node.docker('inspect', '-f', '{{.Id}} {{.State.Pid}} {{.State.Status}}', id);
}

async function untilNode({ uuid }: EngineNode, status: string) {
  return eventually(`the node to be ${status}`, async () => {
    const node = await client.nodes.get(uuid);
    return node.status === status ? node : null;
  });
}

/** Its agent has connected since; without its engine it is not ready. */
async function untilHeard({ uuid }: EngineNode): Promise<void> {
  const sinceMs = Date.parse((await client.nodes.get(uuid)).last_seen_at ?? '');
  const node = await eventually('the agent to be back', async () => {
    const seen = await client.nodes.get(uuid);
    return Date.parse(seen.last_seen_at ?? '') > sinceMs ? seen : null;
  });
  assert.equal(node.status, 'not_ready');
}

async function portAnswers(jobUuid: string): Promise<void> {
  const [door] = (await onlyRunOf(client, jobUuid)).node_urls;
  assert.ok(door);
  await eventually('the port to answer', async () => (await tryTcp(door)) === 'answered');
}

const serving = `(while :; do nc -l -p 5000 -e echo served; done) & ${countingScript}`;

test(
  'with live-restore containers live on, are adopted, and a stop asked for meanwhile ends verified',
  needsDocker,
  async () => {
    const lasting = await startOn(restoring, serving, {
      job: { task: 'PERSISTENT' },
      container: { ports: [5000] },
    });
    const stubborn = await startOn(restoring, `trap '' TERM; echo begun; while :; do sleep 1; done`);
    await portAnswers(lasting);
    const before = await containerOf(restoring, lasting);
    await restoring.engine.kill();
    const away = await untilNode(restoring, 'not_ready');
    assert.match(away.status_reason ?? '', /Docker Engine does not answer/);
    const held = await client.jobs.create(
      aScript('echo held', { job: { allowed_region_codes: [restoring.region] } }),
    );
    // The agent finds a new server without its engine, and stops what it knows past it.
    server.signal('SIGKILL');
    await server.ended;
    server = await place.server();
    await untilHeard(restoring);
    const stopped = await client.jobs.cancel(stubborn, { stop_grace_ms: 500 });
    assert.equal(stopped.status, 'CANCELLED');
    await eventually('the reason why it waits', async () => {
      const waiting = await client.jobs.get(held.uuid);
      assert.equal(waiting.status, 'PENDING');
      return waiting.pending_reason?.code === 'nodes_unavailable';
    });
    await eventually(
      'the stop to go past the engine',
      async () => (await client.jobs.get(stubborn)).teardown?.state === 'killed',
    );

    restoring.engine.start();
    await untilNode(restoring, 'ready');
    assert.equal(await containerOf(restoring, lasting), before, 'the same container and process');
    assert.equal((await onlyRunOf(client, lasting)).attempt, 1);
    assert.equal((await client.jobs.get(lasting)).status, 'RUNNING');
    await portAnswers(lasting);
    await untilStatus(client, held.uuid, 'COMPLETED');
    await eventually(
      'the stop to be verified',
      async () => (await client.jobs.get(stubborn)).teardown?.state === 'verified',
    );
    assert.equal(await containerOf(restoring, stubborn), '');

    const ended = await client.jobs.cancel(lasting, { stop_grace_ms: 0, wait_ms: 30_000 });
    assert.equal(ended.teardown?.state, 'verified');
    assert.ok(counted(await completeLog(client, (await onlyRunOf(client, lasting)).uuid)) > 100);
    await eventually('every container to be gone', async () => (await restoring.docker('ps', '-aq')) === '');
  },
);

test(
  'without live-restore the engine ends what it finds: FAILED with that reason, and retried where allowed',
  needsDocker,
  async () => {
    const once = await startOn(plain, countingScript);
    const again = await startOn(plain, countingScript, { job: { max_retry_count: 1 } });
    const stopped = await startOn(plain, `trap '' TERM; while :; do sleep 1; done`);
    await plain.engine.kill();
    await untilNode(plain, 'not_ready');
    await client.jobs.cancel(stopped, { stop_grace_ms: 200 });
    plain.engine.start();
    const failed = await eventually(
      'the job to fail',
      async () => {
        const job = await client.jobs.get(once);
        return job.status === 'FAILED' ? job : null;
      },
      60_000,
    );
    assert.equal(failed.status_detail?.code, 'engine_restarted');
    assert.match(failed.status_reason ?? '', /container engine .* restarted/);
    assert.ok(counted(await completeLog(client, (await onlyRunOf(client, once)).uuid)) > 10);
    await eventually('a second attempt', async () => {
      const [first, second] = await runsOf(client, again);
      return first?.status_detail?.code === 'engine_restarted' && second?.status === 'RUNNING';
    });
    await eventually(
      'the stop to be verified',
      async () => (await client.jobs.get(stopped)).teardown?.state === 'verified',
    );
    await client.jobs.cancel(again, { stop_grace_ms: 0, wait_ms: 30_000 });
    await eventually('every container to be gone', async () => (await plain.docker('ps', '-aq')) === '');
  },
);
