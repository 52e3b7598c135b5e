// A node whose wall clock is wrong, and then jumps: it is told the server's time, works on, and reports true times.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Client } from '../../src/sdk/client.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import { counted, countingScript } from './support/counting.ts';
import { containersOf, needsDocker } from './support/docker.ts';
import { eventually } from './support/eventually.ts';
import { aScript, completeLog, createPlace, onlyRunOf, type Place, untilStatus } from './support/place.ts';
import { tryTcp } from './support/tcp.ts';

let place: Place;

before(() => {
  place = createPlace();
});
after(() => place.remove());

test(
  'a node hours off connects, runs jobs, and survives jumps of its clock and a new connection',
  needsDocker,
  async () => {
    const clock = createFakeClock(place.folder);
    let server = await place.server();
    clock.set('+2h');
    const node = await place.node(clock.env);
    assert.match(node.output(), /120 minutes ahead of the server's/);
    const client = place.client();
    const { uuid } = await client.jobs.create(
      aScript(`(while :; do nc -l -p 5000 -e echo served; done) & ${countingScript}`, {
        job: { task: 'PERSISTENT' },
        container: { ports: [5000] },
      }),
    );
    await untilStatus(client, uuid, 'RUNNING');
    await answersThroughGateway(client, uuid);

    clock.set('-3h');
    await answersThroughGateway(client, uuid);
    const short = await client.jobs.create(aScript('echo while the clock is behind; exit 3'));
    await untilStatus(client, short.uuid, 'FAILED');
    const shortRun = await onlyRunOf(client, short.uuid);
    assert.equal(await completeLog(client, shortRun.uuid), 'while the clock is behind\n');
    assert.ok((shortRun.duration_ms ?? 0) < 30_000, `a duration of ${shortRun.duration_ms} ms`);

    server.signal('SIGKILL');
    await server.ended;
    clock.set('+5h');
    server = await place.server();
    // It runs for longer than a look at what is overdue takes to come by.
    const afterwards = await client.jobs.create(aScript('sleep 3; echo after all of it'));
    await untilStatus(client, afterwards.uuid, 'COMPLETED');
    const { duration_ms: afterwardsMs } = await onlyRunOf(client, afterwards.uuid);
    assert.ok(afterwardsMs !== null && afterwardsMs >= 2_900 && afterwardsMs < 30_000, `${afterwardsMs} ms`);
    const stopped = await client.jobs.cancel(uuid, { stop_grace_ms: 0, wait_ms: 30_000 });
    assert.equal(stopped.teardown?.state, 'verified');
    assert.deepEqual(await containersOf(uuid), []);
    const run = await onlyRunOf(client, uuid);
    assert.ok(counted(await completeLog(client, run.uuid)) > 20);
    const wholeTestMs = performance.now();
    assert.ok((run.duration_ms ?? 0) < wholeTestMs, `a duration of ${run.duration_ms} ms`);
    assert.equal(node.hasEnded(), false, node.output());
  },
);

/** Each connection may need a new data connection, which the node signs by its clock. */
async function answersThroughGateway(client: Client, jobUuid: string): Promise<void> {
  const [door] = (await onlyRunOf(client, jobUuid)).node_urls;
  assert.ok(door);
  await eventually('an answer of the port', async () => (await tryTcp(door)) === 'answered');
}
