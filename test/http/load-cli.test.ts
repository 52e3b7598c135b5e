// `flotilla node list|show` and `flotilla job stats` against a real server: what a person sees of load and use.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { runProgram } from '../../src/cli/program.ts';
import type { Roles } from '../../src/cli/roles.ts';
import type { NodeLoad, Usage } from '../../src/protocol/hardware.ts';
import type { JobRunStats } from '../../src/protocol/stats.ts';
import { createHandNodes, runsNow } from '../support/hand-nodes.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer();
const nodes = createHandNodes(server);
after(() => nodes.close());

async function flotilla(...args: string[]) {
  const said = { stdout: '', stderr: '' };
  const noRole = () => assert.fail('no role was asked for');
  const roles: Roles = {
    version: '0',
    up: noRole,
    server: noRole,
    nodeRun: noRole,
    keyRecover: noRole,
    clusterRestored: noRole,
  };
  const { publicKey, secretKey } = server.adminKey;
  const code = await runProgram(args, roles, {
    stdin: (async function* () {})(),
    stdout: { write: (text) => (said.stdout += text) },
    stderr: { write: (text) => (said.stderr += text) },
    env: { FLOTILLA_URL: server.url, FLOTILLA_PUBLIC_KEY: publicKey, FLOTILLA_SECRET_KEY: secretKey },
    homeDirectory: '/nowhere',
    isRoot: false,
    nowMs: Date.now,
    sleep: async () => {},
    onInterrupt: () => () => {},
  });
  return { code, ...said };
}

const usage: Usage = {
  ...{ cpu_cores: 1.5, memory_bytes: 300_000_000, gpu_utilisation: null, gpu_memory_bytes: null },
  ...{ network_rx_bytes: 20_000, network_tx_bytes: 0, disk_read_bytes: null, disk_written_bytes: null },
};
const load: NodeLoad = {
  ...{ ...usage, core_loads: [0.5, 1], gpus: [] },
  ...{ memory_free_bytes: 7e8, memory_total_bytes: 1e9, storage_free_bytes: 6e10, storage_total_bytes: 1e11 },
};

test('load and reputation of nodes, and what a job used', async () => {
  const node = await nodes.connect();
  const { job, order } = await nodes.place(node);
  const unsaid = await flotilla('job', 'stats', job.uuid);
  assert.deepEqual([unsaid.code, unsaid.stdout.trim().split('\n').length], [0, 1]);
  assert.match(unsaid.stderr, /^No sample was taken/);

  await node.agent.report(order, runsNow);
  node.agent.send({
    ...{ type: 'sample', span_ms: 10_000, node: load },
    runs: [{ run_uuid: order.run_uuid, ...usage }],
  });
  await eventually('a load', async () => (await nodes.get(node)).latest_hardware_event);

  const list = await flotilla('node', 'list');
  assert.match(list.stdout, /LOAD +REP.*\n.*75% +50 /);
  const shown = await flotilla('node', 'show', node.id);
  assert.match(shown.stdout, /^Load: +CPU 75%, 700 MB of memory free, 60\.0 GB of disk free$/m);
  assert.match(shown.stdout, /^Reputation: +50 of 100$/m);

  const stats = await flotilla('job', 'stats', job.uuid);
  assert.equal(stats.stderr, '');
  assert.match(
    stats.stdout,
    /^TIME +CPU +CPU MAX.*\n\S+ +1\.50 +1\.50 +300 MB +300 MB +- +- +2\.00 kB\/s +0 B\/s +- +-$/m,
  );
  const { stdout } = await flotilla('job', 'stats', job.uuid, '--run', '1', '--step', '5m', '--json');
  const series = JSON.parse(stdout) as JobRunStats;
  assert.deepEqual([series.step_ms, series.points.length], [300_000, 1]);
});
