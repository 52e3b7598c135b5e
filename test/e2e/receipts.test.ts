// Receipts of real ends: a real server, an agent of its own process, containers of a real engine, and the command line.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { CreatedNode } from '../../src/protocol/node.ts';
import type { Receipt } from '../../src/protocol/receipt.ts';
import { type Client, createClient } from '../../src/sdk/client.ts';
import { FakeRegistry } from '../agent/support/registry.ts';
import { startTestServer } from '../support/server.ts';
import { type Command, runCommand, startCommand } from './support/command.ts';
import { containersOf, containersWith, docker, needsDocker } from './support/docker.ts';
import { eventually } from './support/eventually.ts';
import { aScript, onlyRunOf, stubGpus, untilStatus } from './support/place.ts';

const folder = mkdtempSync(join(tmpdir(), 'flotilla-receipts-'));
const waitMs = 30_000;
const server = await startTestServer({ lostAfterMs: 1_500 });
let client: Client;
let node: CreatedNode;
let agent: Command;

function startAgent(): Promise<Command> {
  const options = ['--node-key', join(folder, 'node-key.json'), '--state-dir', join(folder, 'agent')];
  const command = startCommand(['node', 'run', ...options, '--allow-registry', '127.0.0.0/8'], stubGpus(1));
  return command.until(/Connected to the server/).then(() => command);
}

before(async () => {
  if (needsDocker.skip) return;
  const { url, adminKey } = server;
  const { publicKey, secretKey } = adminKey;
  client = createClient({ url, publicKey, secretKey });
  node = await client.nodes.create({ name: 'far' });
  writeFileSync(
    join(folder, 'key.json'),
    JSON.stringify({ public_key: publicKey, secret_key: secretKey, url }),
  );
  writeFileSync(join(folder, 'node-key.json'), JSON.stringify({ ...node.key, url, node_uuid: node.uuid }));
  agent = await startAgent();
});

after(async () => {
  if (!needsDocker.skip) {
    agent.signal('SIGCONT');
    agent.signal('SIGTERM');
    await agent.ended;
    const left = await containersWith(`flotilla.node=${node.uuid}`);
    if (left.length > 0) await docker('rm', '-f', ...left.map(({ id }) => id));
    client.close();
  }
  rmSync(folder, { recursive: true, force: true });
});

const honouring = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
const ignoring = "trap '' TERM; echo ready; while :; do sleep 0.05; done";

async function startReady(script: string, wish: Parameters<typeof aScript>[1] = {}): Promise<string> {
  const { uuid } = await client.jobs.create(aScript(script, wish));
  await untilStatus(client, uuid, 'RUNNING');
  const run = await onlyRunOf(client, uuid);
  await eventually('the script to be ready', async () =>
    (await client.runs.logs(run.uuid)).text.includes('ready\n'),
  );
  return uuid;
}

/** Step to its state, and its milliseconds where the agent's clock measured it. */
function stepsOf({ steps }: Receipt): Map<string, { state: string; agentMs: number | null }> {
  return new Map(
    steps.map(({ step, state, clock, ms }) => [step, { state, agentMs: clock === 'agent' ? ms : null }]),
  );
}

const statesOf = ({ proof }: Receipt) =>
  Object.fromEntries(Object.entries(proof).map(([part, { state }]) => [part, state]));

async function assertVerified(uuid: string): Promise<Receipt> {
  const receipt = await client.jobs.receipt(uuid);
  assert.deepEqual([receipt.state, receipt.summary], ['verified', 'Nothing of the run is left.']);
  assert.deepEqual(await containersOf(uuid), []);
  const { container, processes, networks, ports, tokens } = statesOf(receipt);
  assert.deepEqual([container, processes, networks, ports, tokens], Array(5).fill('proved'));
  assert.ok(receipt.container_id);
  return receipt;
}

test('RUNNING, TERM honoured: every step is timed, and KILL was not needed', needsDocker, async () => {
  const uuid = await startReady(honouring);
  await client.jobs.cancel(uuid, { reason: 'seen enough', wait_ms: waitMs });
  const receipt = await assertVerified(uuid);
  const steps = stepsOf(receipt);
  for (const step of ['requested', 'ports_closed', 'delivered', 'verified'])
    assert.equal(steps.get(step)?.state, 'done', step);
  const timed = ['signalled', 'exited', 'log_stored', 'removed', 'processes_gone', 'networks_gone'];
  const timesMs = timed.map((step) => steps.get(step)?.agentMs ?? assert.fail(`${step} is not timed`));
  assert.deepEqual(
    timesMs,
    timesMs.toSorted((a, b) => a - b),
    'in the order of the ladder',
  );
  assert.equal(steps.get('killed')?.state, 'not_needed');
  assert.deepEqual([receipt.exit?.code, statesOf(receipt).log], [5, 'proved']);
  assert.equal(receipt.stop?.text, 'seen enough');
});

test('RUNNING, TERM ignored: signal, grace and KILL are told', needsDocker, async () => {
  const uuid = await startReady(ignoring);
  await client.jobs.cancel(uuid, { stop_grace_ms: 700, wait_ms: waitMs });
  const steps = stepsOf(await assertVerified(uuid));
  const [signalledMs, killedMs] = ['signalled', 'killed'].map((step) => steps.get(step)?.agentMs ?? -1);
  assert.ok((killedMs ?? 0) - (signalledMs ?? 0) >= 600, `${signalledMs} to ${killedMs} is the grace`);
});

test('pulling: nothing ran, and nothing pretends to have', needsDocker, async () => {
  const registry = await new FakeRegistry({}).listen();
  try {
    const container = { image: 'stalled/app', tag: '1', host: registry.host };
    const { uuid } = await client.jobs.create(aScript('true', { container }));
    await registry.untilBlobAsked();
    await client.jobs.cancel(uuid, { wait_ms: waitMs });
    const receipt = await client.jobs.receipt(uuid);
    assert.deepEqual([receipt.state, receipt.exit, receipt.container_id], ['verified', null, null]);
    const { container: seen, processes, networks, volumes, gpus } = statesOf(receipt);
    assert.deepEqual([seen, processes, networks, volumes, gpus], Array(5).fill('none'));
    const steps = stepsOf(receipt);
    assert.deepEqual(
      ['delivered', 'signalled', 'exited', 'removed'].map((step) => steps.get(step)?.state),
      ['done', 'not_needed', 'not_needed', 'not_needed'],
    );
  } finally {
    await registry.close();
  }
});

test('PENDING: nothing ever existed', needsDocker, async () => {
  const { uuid } = await client.jobs.create(aScript('true', { job: { cpu_count: 4_000 } }));
  await client.jobs.cancel(uuid);
  const receipt = await client.jobs.receipt(uuid);
  assert.deepEqual([receipt.state, receipt.run_uuid], ['verified', null]);
});

test('with a GPU: its memory is as before, by the numbers', needsDocker, async () => {
  const uuid = await startReady(honouring, { job: { gpu_count: 1 } });
  await client.jobs.cancel(uuid, { wait_ms: waitMs });
  const receipt = await assertVerified(uuid);
  assert.equal(statesOf(receipt).gpus, 'proved');
  const [gpu] = receipt.gpus;
  assert.deepEqual([gpu?.state, gpu?.baseline_mib, gpu?.used_mib], ['clean', 0, 0]);
  assert.equal(stepsOf(receipt).get('gpus_clean')?.state, 'done');
});

test('ended by itself: the same proof, without a stop', needsDocker, async () => {
  const { uuid } = await client.jobs.create(aScript('echo done; exit 3'));
  await untilStatus(client, uuid, 'FAILED');
  await eventually('the proof', async () => (await client.jobs.receipt(uuid)).state === 'verified');
  const receipt = await assertVerified(uuid);
  assert.deepEqual([receipt.stop, receipt.exit?.code, receipt.requested_at], [null, 3, null]);
});

test(
  'the command line: job stop says each rung, job receipt shows tables and JSON',
  needsDocker,
  async () => {
    const uuid = await startReady(ignoring);
    const options = ['--key-file', join(folder, 'key.json')];
    const stopped = await runCommand([
      'job',
      'stop',
      uuid,
      '--grace',
      '500ms',
      '--reason',
      'why not',
      ...options,
    ]);
    assert.equal(stopped.code, 0, stopped.output);
    const said = stopped.output.trim().split('\n');
    assert.deepEqual(
      said.map((line) => line.replace(/^\S+ +\S+ +/, '')),
      [
        ...[
          'CANCELLED: why not',
          'stop requested',
          'delivered to the agent',
          'stop signal sent',
          'KILL sent',
        ],
        ...['container ended, exit code 137, SIGKILL', 'container gone, verified'],
      ],
    );
    const shown = await runCommand(['job', 'receipt', uuid, ...options]);
    assert.equal(shown.code, 0, shown.output);
    assert.match(shown.output, /^Receipt: +verified$/m);
    assert.match(
      shown.output,
      new RegExp(`^Stopped: +why not, by key ${server.adminKey.publicKey} from `, 'm'),
    );
    assert.match(shown.output, /^KILL sent +done +- +\d+/m);
    assert.match(shown.output, /^processes +proved +none lives in its cgroup$/m);
    const json = await runCommand(['job', 'receipt', '--run', '1', uuid, '--json', ...options]);
    assert.deepEqual(JSON.parse(json.output), await client.jobs.receipt(uuid));
    const got = await runCommand(['job', 'get', uuid, ...options]);
    assert.match(
      got.output,
      new RegExp(`^Stopped: +by key ${server.adminKey.publicKey} from 127\\.0\\.0\\.1$`, 'm'),
    );
  },
);

test(
  'kill -9 of the agent between signal and KILL: what it did not see is not made up',
  needsDocker,
  async () => {
    const uuid = await startReady(ignoring);
    await client.jobs.cancel(uuid, { stop_grace_ms: 4_000 });
    await eventually('the signal', async () => (await client.jobs.get(uuid)).teardown?.state === 'signalled');
    const first = stepsOf(await client.jobs.receipt(uuid)).get('signalled');
    agent.signal('SIGKILL');
    await agent.ended;
    assert.equal((await client.jobs.receipt(uuid)).state, 'open');
    agent = await startAgent();
    await eventually('the proof', async () => (await client.jobs.receipt(uuid)).state === 'verified');
    const steps = stepsOf(await assertVerified(uuid));
    assert.equal(first?.state, 'done');
    // The second life signalled and killed as well; the log is read on from the stored byte.
    assert.deepEqual(
      ['signalled', 'killed', 'exited', 'log_stored'].map((step) => steps.get(step)?.state),
      Array(4).fill('done'),
    );
  },
);

test(
  'kill -9 of the agent, then the container dies without one: KILL is neither told nor denied',
  needsDocker,
  async () => {
    const uuid = await startReady(ignoring);
    await client.jobs.cancel(uuid, { stop_grace_ms: 60_000 });
    await eventually('the signal', async () => (await client.jobs.get(uuid)).teardown?.state === 'signalled');
    agent.signal('SIGKILL');
    await agent.ended;
    const [container] = await containersOf(uuid);
    await docker('kill', container?.id ?? '');
    agent = await startAgent();
    await eventually('the proof', async () => (await client.jobs.receipt(uuid)).state === 'verified');
    const receipt = await assertVerified(uuid);
    const steps = stepsOf(receipt);
    assert.deepEqual([steps.get('signalled')?.state, steps.get('killed')?.state], ['done', 'not_observed']);
    assert.equal(receipt.exit?.code, 137);
  },
);

test(
  'a lost node: unverified with the reason; when it comes back it is killed, proved and verified',
  needsDocker,
  async () => {
    const uuid = await startReady(ignoring);
    agent.signal('SIGSTOP');
    await client.jobs.cancel(uuid, { stop_grace_ms: 1_000 });
    const lost = await eventually('the loss', async () => {
      await server.database.query(
        "update node_leases set expires_at = flotilla_now() - interval '1 second', last_seen_at = flotilla_now() - interval '1 hour' where node_id = $1",
        [node.uuid],
      );
      const receipt = await client.jobs.receipt(uuid);
      return receipt.state === 'unverified' && receipt;
    });
    assert.match(lost.summary, /^The end is not proved: .*when the node comes back it removes what is left/);
    assert.equal(statesOf(lost).container, 'not_observed');
    assert.deepEqual([statesOf(lost).ports, statesOf(lost).tokens], ['proved', 'proved']);
    assert.equal((await containersOf(uuid)).length, 1, 'it lives on: nobody claims otherwise');
    assert.equal((await client.jobs.get(uuid)).status, 'CANCELLED');
    agent.signal('SIGCONT');
    await eventually('the late proof', async () => (await client.jobs.receipt(uuid)).state === 'verified');
    const proved = await assertVerified(uuid);
    assert.equal(proved.job_status, 'CANCELLED');
    assert.equal((await client.jobs.get(uuid)).teardown?.state, 'verified');
  },
);

test('a node that lost everything while it was away proves that too', needsDocker, async () => {
  const uuid = await startReady(ignoring);
  agent.signal('SIGKILL');
  await agent.ended;
  await client.jobs.cancel(uuid);
  await eventually('the loss', async () => {
    await server.database.query(
      "update node_leases set expires_at = flotilla_now() - interval '1 second', last_seen_at = flotilla_now() - interval '1 hour' where node_id = $1",
      [node.uuid],
    );
    return (await client.jobs.receipt(uuid)).state === 'unverified';
  });
  // The machine was restarted: its containers are gone, and its agent knows nothing of them.
  const [container] = await containersOf(uuid);
  await docker('rm', '-f', container?.id ?? '');
  agent = await startAgent();
  await eventually('the late proof', async () => (await client.jobs.receipt(uuid)).state === 'verified');
  const receipt = await assertVerified(uuid);
  assert.equal(stepsOf(receipt).get('exited')?.state, 'not_observed');
  assert.equal(statesOf(receipt).log, 'not_observed');
});
