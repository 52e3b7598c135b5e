// Volumes filled from images: the whole tree, writable, the run's own, and gone with it whatever happens.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { ContainerOrder } from '../../src/protocol/agent-messages.ts';
import { ControlPlane } from '../agent/support/control-plane.ts';
import {
  containerOf,
  docker,
  isGone,
  killHard,
  removeContainers,
  spawnAgent,
  startAgent,
  withNode,
} from '../agent/support/node.ts';
import { Registry, secret, user } from './support/registry.ts';
import { importTree } from './support/trees.ts';

const registry = new Registry({ isPrivate: true });
const bigBytes = 150_000_000;

before(async () => {
  await registry.start();
  importTree('local/files:1', {
    files: {
      'hello.txt': 'hello from the image\n',
      'deep/er/file': 'x',
      'etc/passwd': 'mine\n',
      'secret/key': 'k',
    },
    shell: `
      mkdir empty dev
      chmod 751 deep
      chmod 4755 hello.txt
      chmod 600 secret/key
      chown -R 1234:5678 secret
      ln -s hello.txt link
      ln hello.txt hard
      long=$(printf '%0150d' 7)
      mkdir -p "long/$long"
      echo long >"long/$long/$long"`,
  });
  importTree('local/other:1', { files: { 'other.txt': 'the other one\n' } });
  await registry.publish('local/other:1', 'team/other:1');
  importTree('local/big:1', { files: { big: bigBytes } });
});
afterEach(async () => {
  const containers = await docker('ps', '-aq');
  if (containers !== '') await docker('rm', '-fv', ...containers.split('\n'));
  const volumes = await docker('volume', 'ls', '-q');
  if (volumes !== '') await docker('volume', 'rm', ...volumes.split('\n'));
});
after(async () => {
  await registry[Symbol.asyncDispose]();
  await docker('rmi', '-f', 'local/files:1', 'local/other:1', 'local/big:1');
});

type Volume = ContainerOrder['volumes'][number];

function volume(image: string, mount: string, own: Partial<Volume> = {}): Volume {
  return { image, tag: '1', registry: '', user: '', secret: '', mount, ...own };
}

function withVolumes(volumes: Volume[], script: string) {
  return { container: { volumes, command: ['/bin/sh', '-c', script] } };
}

async function volumesLeft(): Promise<string> {
  const helpers = await docker('ps', '-aq', '--filter', 'label=flotilla.volume-of');
  return [await docker('volume', 'ls', '-q'), helpers].join('');
}

async function untilNoVolumes(): Promise<void> {
  for (let tries = 0; tries < 300 && (await volumesLeft()) !== ''; tries += 1) await delay(50);
  assert.equal(await volumesLeft(), '');
}

test('the whole tree of the image is there with its modes and owners, and nothing of the engine', async () => {
  await withNode(async ({ plane }) => {
    const list =
      'find . -mindepth 1 | sort | cut -c1-30 && stat -c "%n %a %u:%g %h" deep hello.txt secret/key link';
    const script = `cd /data && ${list} && cat hello.txt etc/passwd link && readlink link && cat long/*/*`;
    const run = plane.want(withVolumes([volume('local/files', '/data')], script));
    const { exit_code } = await plane.event(run, 'exited');
    await plane.event(run, 'released');
    assert.equal(exit_code, 0, plane.logOf(run) + plane.logOf(run, 'stderr'));
    assert.deepEqual(plane.logOf(run).split('\n'), [
      './deep',
      './deep/er',
      './deep/er/file',
      './empty',
      './etc',
      './etc/passwd',
      './hard',
      './hello.txt',
      './link',
      './long',
      `./long/${'0'.repeat(23)}`,
      `./long/${'0'.repeat(23)}`,
      './secret',
      './secret/key',
      'deep 751 0:0 3',
      'hello.txt 4755 0:0 2',
      'secret/key 600 1234:5678 1',
      'link 777 0:0 1',
      'hello from the image',
      'mine',
      'hello from the image',
      'hello.txt',
      'long',
      '',
    ]);
    assert.equal(await isGone(run), true);
    assert.equal(await volumesLeft(), '');
  });
});

test('a volume is writable and the run’s own: another run of the same order sees the image’s files', async () => {
  await withNode(async ({ plane }) => {
    const order = withVolumes(
      [volume('local/files', '/data')],
      'cat /data/hello.txt; echo changed >/data/hello.txt; rm -r /data/deep; echo new >/data/new; ls /data; sleep 60',
    );
    const first = plane.want(order);
    await plane.until(() => plane.logOf(first).includes('secret'), { what: () => 'the first list' });
    const second = plane.want(order);
    await plane.until(() => plane.logOf(second).includes('secret'), { what: () => 'the second list' });
    assert.equal(plane.logOf(second), plane.logOf(first));
    assert.match(plane.logOf(second), /^hello from the image\n(.*\n)*new\n/);
    for (const run of [first, second]) plane.wantStop(run, 0);
    for (const run of [first, second]) await plane.event(run, 'released');
    assert.equal(await volumesLeft(), '');
  });
});

test('two volumes, one below the other, one of them private', async () => {
  await withNode(async ({ plane }) => {
    const credentials = { registry: registry.host, user, secret };
    const volumes = [
      volume('team/other', '/data/inner', credentials),
      volume('local/files', '/data'),
      volume('local/files', '/opt/more', {}),
    ];
    const run = plane.want(
      withVolumes(volumes, 'cat /data/hello.txt /data/inner/other.txt /opt/more/hello.txt'),
    );
    assert.equal((await plane.event(run, 'exited')).exit_code, 0);
    await plane.event(run, 'released');
    assert.equal(plane.logOf(run), 'hello from the image\nthe other one\nhello from the image\n');
    assert.equal(await volumesLeft(), '');
  });
});

test('a volume whose image is missing or refused fails the run in a sentence that names its mount', async () => {
  await withNode(async ({ plane }) => {
    const failure = async (own: Volume) => {
      const run = plane.want(withVolumes([volume('local/files', '/good'), own], 'true'));
      const { error } = await plane.event(run, 'exited');
      await plane.event(run, 'released');
      assert.equal(await volumesLeft(), '', 'the volume that was filled before is gone too');
      assert.match(error?.message ?? '', /^The volume at \/data could not be made: /);
      assert.doesNotMatch(error?.message ?? '', /wrong-horse/);
      return error?.code;
    };
    const at = { registry: registry.host, user, secret };
    assert.equal(await failure(volume('team/absent', '/data', at)), 'image_not_found');
    const wrong = { ...at, secret: 'wrong-horse' };
    assert.equal(await failure(volume('team/other', '/data', wrong)), 'pull_unauthorized');
    await docker('rmi', `${registry.host}/team/other:1`);
    const right = plane.want(withVolumes([volume('team/other', '/data', at)], 'true'));
    assert.equal((await plane.event(right, 'exited')).exit_code, 0);
    await plane.event(right, 'released');
    // It is on the node by now.
    const open = { registry: registry.host };
    assert.equal(await failure(volume('team/other', '/data', open)), 'pull_unauthorized');
  });
});

test('a large tree is copied whole, told while it goes, and a stop in the middle leaves nothing', async () => {
  await withNode(async ({ plane }) => {
    const order = withVolumes([volume('local/big', '/data')], 'wc -c </data/big');
    const run = plane.want(order);
    assert.equal((await plane.event(run, 'exited')).exit_code, 0);
    await plane.event(run, 'released');
    assert.equal(plane.logOf(run), `${bigBytes}\n`);
    const told = plane
      .run(run)
      .events.flatMap(({ event }) => (event.kind === 'preparing' ? [event.progress] : []));
    assert.ok(
      told.some((progress) => progress?.phase === 'extracting'),
      JSON.stringify(told),
    );
    await plane.event(run, 'released');

    const stopped = plane.want(order);
    await plane.event(stopped, 'preparing');
    plane.wantStop(stopped, 0);
    await plane.event(stopped, 'released');
    assert.equal((await plane.event(stopped, 'exited')).error?.code, 'cancelled');
    assert.equal(await volumesLeft(), '');
  });
});

test('an agent killed while it fills a volume: the next one fills it anew, or removes it with the run', async () => {
  const plane = await new ControlPlane().listen();
  const agents = [spawnAgent(plane)];
  try {
    await plane.until(() => plane.connectionCount > 0, { what: () => 'the agent' });
    const run = plane.want(withVolumes([volume('local/big', '/data')], 'wc -c </data/big'));
    await plane.event(run, 'preparing');
    for (const agent of agents.splice(0)) await killHard(agent);
    assert.notEqual(await volumesLeft(), '');
    agents.push(spawnAgent(plane));
    assert.equal((await plane.event(run, 'exited')).exit_code, 0);
    await plane.event(run, 'released');
    assert.equal(plane.logOf(run), `${bigBytes}\n`);
    assert.equal(await volumesLeft(), '');

    for (const isForgotten of [false, true]) {
      const connections = plane.connectionCount;
      const lost = plane.want(withVolumes([volume('local/big', '/data')], 'true'));
      await plane.event(lost, 'preparing');
      for (const agent of agents.splice(0)) await killHard(agent);
      assert.notEqual(await volumesLeft(), '');
      if (isForgotten) plane.runs.delete(lost);
      else plane.wantStop(lost, 0);
      agents.push(spawnAgent(plane));
      await plane.until(() => plane.connectionCount > connections, { what: () => 'the next agent' });
      if (!isForgotten) {
        await plane.event(lost, 'released');
        assert.equal(await volumesLeft(), '');
      }
      await untilNoVolumes();
    }
  } finally {
    for (const agent of agents) await killHard(agent);
    await plane.close();
    await removeContainers(plane.nodeUuid);
  }
});

test('the kill list takes the volumes with the container, and a stranger’s volumes are left alone', async () => {
  await docker('volume', 'create', '--label', 'flotilla.node=another', 'stranger');
  const plane = await new ControlPlane().listen();
  let agent = startAgent(plane);
  try {
    const run = plane.want(withVolumes([volume('local/files', '/data')], 'sleep 60'));
    await plane.event(run, 'running');
    await agent.stop();
    plane.runs.delete(run);
    agent = startAgent(plane);
    await plane.until(() => plane.orphans.flat().length > 0, { what: () => 'the orphan' });
    assert.notEqual(await docker('volume', 'ls', '-q', '--filter', `label=flotilla.run=${run}`), '');
    plane.kill(run);
    for (let tries = 0; tries < 200 && (await docker('volume', 'ls', '-q')) !== 'stranger'; tries += 1)
      await delay(50);
    assert.equal(await docker('volume', 'ls', '-q'), 'stranger');
    assert.equal(await docker('ps', '-aq', '--filter', `name=${containerOf(run)}`), '');
  } finally {
    await agent.stop();
    await plane.close();
    await removeContainers(plane.nodeUuid);
    await docker('volume', 'rm', 'stranger');
  }
});

test('a volume whose labels its engine lost goes with its run, by its name', async () => {
  await withNode(async ({ plane }) => {
    const run = plane.want(withVolumes([volume('local/files', '/data')], 'sleep 60'));
    await plane.event(run, 'running');
    // As an engine leaves one behind that is killed while it makes it.
    await docker('volume', 'create', `flotilla-${run}-1`);
    plane.wantStop(run, 0);
    const released = await plane.event(run, 'released');
    assert.equal(released.proof?.volumes.state, 'gone');
    assert.equal(await volumesLeft(), '');
  });
});
