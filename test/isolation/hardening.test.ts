// What a hostile container tries on its kernel and its node: each succeeds in a plain container first, then fails in a run.
import assert from 'node:assert/strict';
import { readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { after, before, test } from 'node:test';
import { DockerRuntime } from '../../src/agent/docker.ts';
import type { ContainerSpec } from '../../src/agent/runtime.ts';
import { ControlPlane, shell } from '../agent/support/control-plane.ts';
import {
  containerOf,
  docker,
  inspect,
  type RunningAgent,
  removeContainers,
  startAgent,
} from '../agent/support/node.ts';

/** So small that a run's share is 32 MiB of memory, and 64 processes. */
class SmallEngine extends DockerRuntime {
  override async describe() {
    return { ...(await super.describe()), ramBytes: 600 * 1024 * 1024 };
  }
  override createContainer(spec: ContainerSpec) {
    return super.createContainer({ ...spec, pidCount: 64 });
  }
}

let plane: ControlPlane;
let agent: RunningAgent;
const canary = 'canary-of-the-agent';

before(async () => {
  process.env.FLOTILLA_TEST_CANARY = canary;
  plane = await new ControlPlane().listen();
  agent = startAgent(plane, { runtime: new SmallEngine(null) });
  await plane.until(() => plane.connectionCount > 0, { what: () => 'the agent' });
});

after(async () => {
  await agent.stop();
  await plane.close();
  await removeContainers(plane.nodeUuid);
});

/** What a shell script prints in a run. */
async function inRun(script: string): Promise<string> {
  const run = plane.want(shell(script));
  await plane.event(run, 'released');
  return plane.logOf(run);
}

/** And in a container that the agent did not make. */
function inPlain(script: string, ...flags: string[]): Promise<string> {
  return docker('run', '--rm', ...flags, 'test/busybox:1', '/bin/sh', '-c', script);
}

const socket = (process.env.DOCKER_HOST ?? '').replace('unix://', '');

/** Each script succeeds when the attempt did. */
const attempts: Record<string, string> = {
  'send raw packets': 'arping -c 1 -w 2 -I eth0 $(ip route | sed -n "s/default via \\([^ ]*\\).*/\\1/p")',
  'make a device node': 'mknod /tmp/disk b 8 0',
  'write kernel settings': 'echo 0 >/proc/sys/net/ipv4/ip_forward',
  'enter a user namespace of its own': 'unshare -U true',
  'mount a filesystem': 'mkdir -p /m && mount -t tmpfs none /m',
  'change its network': 'ip link set lo down && ip link set lo up',
  'find the Docker socket': '[ -S /run/docker.sock ] || [ -S /var/run/docker.sock ]',
  'start 200 processes': 'for i in $(seq 200); do sleep 2 & done; [ $(ls -d /proc/[0-9]* | wc -l) -ge 200 ]',
  'take 100 MB of memory': 'head -c 100000000 /dev/zero | tail -n 1 | wc -c | grep -q 100000000',
  'fill 40 MB of /dev/shm': 'dd if=/dev/zero of=/dev/shm/x bs=1M count=40',
  'make a cgroup':
    'd=/sys/fs/cgroup; [ -d $d/pids ] && d=$d/pids; mkdir $d/flotilla-test && rmdir $d/flotilla-test',
};
const script = Object.entries(attempts)
  .map(([what, attempt]) => `(${attempt}) >/dev/null 2>&1 && echo 'done: ${what}'; sleep 0.1`)
  .join('\n');
const everythingOff = [
  ...['--security-opt', 'systempaths=unconfined', '--security-opt', 'seccomp=unconfined'],
  ...['--cap-add', 'NET_ADMIN', '--cap-add', 'SYS_ADMIN', '--shm-size', '64m'],
  ...['-v', `${socket}:/var/run/docker.sock`, '-v', '/sys/fs/cgroup:/sys/fs/cgroup:rw'],
];
let outcomes: undefined | { off: string; on: string };

for (const what of Object.keys(attempts)) {
  test(`a run cannot ${what}; a container without what holds it back can`, async () => {
    outcomes ??= { off: await inPlain(`${script}\ntrue`, ...everythingOff), on: await inRun(script) };
    assert.ok(outcomes.off.includes(`done: ${what}`), `the attempt must succeed first: ${outcomes.off}`);
    assert.ok(!outcomes.on.includes(`done: ${what}`));
  });
}

test('nothing of the agent is in the environment of a run', async () => {
  const list = ['/bin/sh', '-c', 'cat /proc/self/environ | tr "\\0" "\\n"'];
  const run = plane.want({ container: { command: list, env: { GREETING: 'hello' } } });
  await plane.event(run, 'released');
  const names = plane
    .logOf(run)
    .trim()
    .split('\n')
    .map((line) => line.split('=')[0])
    .sort();
  const own = ['GREETING', 'HOME', 'HOSTNAME', 'PATH', 'PWD', 'SHLVL'];
  assert.deepEqual(
    names.filter((name) => !own.includes(name ?? '')),
    [],
  );
  assert.ok(names.includes('GREETING'));
  assert.doesNotMatch(plane.logOf(run), new RegExp(canary));
  assert.match(await inPlain('env', '-e', 'FLOTILLA_TEST_CANARY'), new RegExp(canary));
});

test('a run has a hostname, processes, IPC and hostname space of its own', async () => {
  const kinds = ['pid', 'ipc', 'uts', 'mnt', 'net'];
  const script = `hostname; for k in ${kinds.join(' ')}; do readlink /proc/self/ns/$k; done`;
  const host = [hostname(), ...kinds.map((kind) => readlinkSync(`/proc/self/ns/${kind}`))];
  const shared = await inPlain(
    script,
    '--pid',
    'host',
    '--ipc',
    'host',
    '--uts',
    'host',
    '--network',
    'host',
  );
  const mntIndex = 1 + kinds.indexOf('mnt');
  assert.deepEqual(shared.split('\n').toSpliced(mntIndex, 1), host.toSpliced(mntIndex, 1));
  const own = (await inRun(script)).trim().split('\n');
  assert.deepEqual(
    own.map((line, index) => line === host[index]),
    host.map(() => false),
  );
});

test('a run has the rights that sudo and sshd need, and no others', async () => {
  const script = 'grep -E "^(NoNewPrivs|Seccomp|CapEff|CapBnd):" /proc/self/status';
  const status = Object.fromEntries(
    (await inRun(script))
      .trim()
      .split('\n')
      .map((line) => line.split(':\t')),
  );
  assert.equal(status.NoNewPrivs, '0', 'sudo gains rights by its file');
  assert.equal(status.Seccomp, '2');
  // Docker's default set without MKNOD (27) and NET_RAW (13).
  const expected = 0xa80425fbn & ~(1n << 27n) & ~(1n << 13n);
  assert.equal(BigInt(`0x${status.CapEff}`), expected);
  assert.equal(BigInt(`0x${status.CapBnd}`), expected);
});

test('of the host only what the engine itself needs is mounted', async () => {
  const run = plane.want(shell('cut -d " " -f 5 /proc/self/mountinfo | sort -u; sleep 60'));
  await plane.event(run, 'running');
  const { HostConfig, Mounts } = (await inspect(containerOf(run))) as unknown as {
    HostConfig: Record<string, unknown>;
    Mounts: unknown[];
  };
  assert.deepEqual(Mounts, []);
  assert.deepEqual(
    [HostConfig.Binds, HostConfig.Privileged, HostConfig.PidMode, HostConfig.UTSMode, HostConfig.IpcMode],
    [null, false, '', '', 'private'],
  );
  assert.deepEqual([HostConfig.CapAdd, HostConfig.SecurityOpt, HostConfig.Devices], [null, null, null]);
  await plane.until(() => /\/sys/.test(plane.logOf(run)), { what: () => 'its mounts' });
  plane.kill(run);
  const places = plane.logOf(run).trim().split('\n');
  const files = places.filter((place) => !/^\/($|proc|sys|dev)/.test(place));
  assert.deepEqual(files, ['/etc/hostname', '/etc/hosts', '/etc/resolv.conf', '/sbin/docker-init']);
});
