// A run from order to release in a real container: exit codes, logs, limits, and every way not to start.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DockerRuntime } from '../../src/agent/docker.ts';
import { stubGpus } from '../support/gpus.ts';
import { shell } from './support/control-plane.ts';
import { containerOf, docker, inspect, isGone, withNode } from './support/node.ts';

test('a run reports running, exited and released, and its log is whole', () =>
  withNode(async ({ plane }) => {
    const run = plane.want(shell('echo out; echo err >&2; printf "no newline"; sleep 0.2; exit 3'));
    const exited = await plane.event(run, 'exited');
    const released = await plane.event(run, 'released');
    assert.deepEqual(plane.kindsOf(run), ['running', 'exited', 'released']);
    assert.equal(exited.exit_code, 3);
    assert.equal(exited.exit_signal, null);
    assert.equal(exited.error, null);
    assert.ok(
      exited.ran_ms !== null && exited.ran_ms >= 100 && exited.ran_ms < 20_000,
      `ran ${exited.ran_ms} ms`,
    );
    assert.match(exited.last_log_lines, /no newline$/);
    assert.equal(released.is_log_complete, true);
    assert.equal(plane.logOf(run), 'out\nno newline');
    assert.equal(plane.logOf(run, 'stderr'), 'err\n');
    assert.equal(await isGone(run), true);
  }));

test('a run without output ends with code 0 and an empty, complete log', () =>
  withNode(async ({ plane }) => {
    const run = plane.want(shell('exit 0'));
    assert.equal((await plane.event(run, 'exited')).exit_code, 0);
    assert.equal((await plane.event(run, 'released')).is_log_complete, true);
    assert.equal(plane.logOf(run), '');
  }));

test('long lines, bytes that are no text and many lines arrive as the engine keeps them', () =>
  withNode(async ({ plane }) => {
    const script = 'head -c 100000 /dev/zero | tr "\\0" x; echo; printf "a\\000b\\n"; seq 1 20000';
    const run = plane.want(shell(script));
    assert.equal((await plane.event(run, 'released')).is_log_complete, true);
    const numbers = Array.from({ length: 20_000 }, (_, index) => `${index + 1}\n`).join('');
    assert.equal(plane.logOf(run), `${'x'.repeat(100_000)}\na\0b\n${numbers}`);
  }));

/** An engine that seems to have so little memory that a run's share of it is 32 MiB. */
class SmallEngine extends DockerRuntime {
  override async describe() {
    return { ...(await super.describe()), ramBytes: 600 * 1024 * 1024 };
  }
}

test('a program that takes more memory than its limit is told to be out of memory', () =>
  withNode(
    async ({ plane }) => {
      // tail keeps a line without end in memory.
      const run = plane.want(shell('exec tail -n 1 /dev/zero'));
      const exited = await plane.event(run, 'exited');
      assert.equal(exited.is_oom_killed, true);
      assert.equal(exited.exit_code, 137);
      assert.equal(exited.exit_signal, 'SIGKILL');
    },
    { runtime: new SmallEngine(null) },
  ));

test('a run that goes on after a child was killed for memory is not told to be out of memory', () =>
  withNode(
    async ({ plane }) => {
      const run = plane.want(shell('tail -n 1 /dev/zero; echo went on'));
      const exited = await plane.event(run, 'exited');
      assert.equal(exited.exit_code, 0);
      assert.equal(exited.is_oom_killed, false);
    },
    { runtime: new SmallEngine(null) },
  ));

test('a program that is not in the image is a bad command, and its container is removed', () =>
  withNode(async ({ plane }) => {
    const run = plane.want({ container: { command: ['/no/such/program'] } });
    const { error } = await plane.event(run, 'exited');
    await plane.event(run, 'released');
    assert.equal(error?.code, 'bad_command');
    assert.match(error?.message ?? '', /"\/no\/such\/program" cannot be run .*check command/);
    assert.equal(await isGone(run), true);
  }));

test('a program that writes once runs once', () =>
  withNode(async ({ plane }) => {
    const runs = Array.from({ length: 6 }, () => plane.want(shell('echo once')));
    for (const run of runs) await plane.event(run, 'released');
    assert.deepEqual(
      runs.map((run) => plane.logOf(run)),
      runs.map(() => 'once\n'),
    );
  }));

test('an image that cannot be fetched fails in a sentence, and no secret is in it', () =>
  withNode(async ({ plane, agent }) => {
    const run = plane.want({
      container: {
        image: 'team/app-hunter2secret',
        tag: 'v1',
        registry_host: '127.0.0.1:1',
        registry_user: 'alice',
        registry_secret: 'hunter2secret',
        env: { TOKEN: '127.0.0.1' },
      },
    });
    const { error } = await plane.event(run, 'exited');
    await plane.event(run, 'released');
    assert.equal(error?.code, 'registry_unreachable');
    assert.match(error?.message ?? '', /cannot be reached from the node/);
    const engineText = (error?.message ?? '').replace(/^.*?network\./, '');
    assert.match(engineText, /\*\*\*/);
    assert.doesNotMatch(engineText, /hunter2secret/);
    assert.doesNotMatch(JSON.stringify(agent.lines), /hunter2secret" for|password/);
  }));

test('an image of a public registry that is out of reach fails within seconds', () =>
  withNode(async ({ plane }) => {
    const run = plane.want({ container: { image: 'nobody/nothing', tag: 'latest' } });
    const { error } = await plane.event(run, 'exited');
    assert.equal(error?.code, 'registry_unreachable');
  }));

test('the container has its limits, labels, init process and environment', () =>
  withNode(async ({ plane }) => {
    const run = plane.want({
      ...shell('echo $GREETING; sleep 60'),
      cpu_count: 1,
      ram_bytes: 64 * 1024 * 1024,
    });
    plane.run(run).desired.container.env = {};
    await plane.event(run, 'running');
    const { HostConfig, Config } = (await inspect(containerOf(run))) as unknown as Record<
      string,
      Record<string, unknown>
    >;
    assert.equal(HostConfig?.Init, true);
    assert.equal(HostConfig?.CpuShares, 1024);
    assert.equal(HostConfig?.Privileged, false);
    assert.deepEqual(HostConfig?.CapDrop, ['NET_RAW', 'MKNOD']);
    assert.equal(HostConfig?.Memory, HostConfig?.MemorySwap);
    assert.equal(HostConfig?.ShmSize, Math.floor(Number(HostConfig?.Memory) / 2));
    assert.ok(Number(HostConfig?.Memory) >= 64 * 1024 * 1024);
    const { run_uuid, job_uuid } = plane.run(run).desired;
    assert.deepEqual(Config?.Labels, {
      'flotilla.cluster': plane.clusterUuid,
      'flotilla.node': plane.nodeUuid,
      'flotilla.run': run_uuid,
      'flotilla.job': job_uuid,
      'flotilla.attempt': '1',
    });
  }));

test('exactly the GPUs of the order are given to the container', async () => {
  using gpus = stubGpus(3);
  const [first = '', , third = ''] = gpus.uuids;
  await withNode(async ({ plane }) => {
    const run = plane.want({
      ...shell('echo "$NVIDIA_VISIBLE_DEVICES"; sleep 60'),
      gpu_uuids: [first, third],
    });
    await plane.until(() => plane.logOf(run) !== '', { what: () => 'the GPUs that the container sees' });
    assert.equal(plane.logOf(run), `${first},${third}\n`);
    const requests = await docker('inspect', '-f', '{{json .HostConfig.DeviceRequests}}', containerOf(run));
    assert.deepEqual(JSON.parse(requests)[0].DeviceIDs, [first, third]);
  });
});
