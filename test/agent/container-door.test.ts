// The door into containers on a real engine: refusals as sentences, output that waits for its reader, programs that are ended.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pack } from 'tar-stream';
import { DockerDoor, type RunningExec } from '../../src/agent/container-door.ts';
import { endSession } from '../../src/agent/exec-processes.ts';
import type { ExecRequest } from '../../src/protocol/exec.ts';
import { docker, needsDocker } from '../e2e/support/docker.ts';
import { eventually } from '../e2e/support/eventually.ts';

const door = new DockerDoor(process.env.DOCKER_HOST ?? null);
const never = new AbortController().signal;
const containers: string[] = [];
let plain = '';

async function aContainer(...options: string[]): Promise<string> {
  const id = await docker('run', '-d', '--init', ...options, 'busybox', 'sleep', '1000');
  containers.push(id);
  return id;
}

before(async () => {
  if (!needsDocker.skip) plain = await aContainer();
});

after(async () => {
  if (containers.length > 0) await docker('rm', '-f', ...containers);
});

const asked = (...command: string[]): ExecRequest => ({ command, tty: false, cols: null, rows: null });

function aTar(name = 'file', content: string | Buffer = 'content', uid = 0): Readable {
  const tar = pack();
  tar.entry({ name, uid, gid: uid }, content);
  tar.finalize();
  return Readable.from(tar);
}

async function outputOf(exec: RunningExec): Promise<string> {
  const parts: string[] = [];
  for await (const { stream, bytes } of exec.output) parts.push(`${stream}:${bytes}`);
  return parts.join('');
}

test('what cannot be written is told without a path of the host', needsDocker, async () => {
  const readOnly = await aContainer('--read-only');
  await assert.rejects(door.writeTree(readOnly, '/tmp', aTar(), never), {
    status: 409,
    message: '"/tmp" in the container is read-only.',
  });
  // More than the engine reads before it refuses.
  await assert.rejects(door.writeTree(readOnly, '/tmp', aTar('big', Buffer.alloc(30_000_000)), never), {
    status: 409,
  });
  await assert.rejects(door.requireFolder(plain, '/nope'), {
    status: 404,
    message: 'There is no "/nope" in the container.',
  });
  await assert.rejects(door.requireFolder(plain, '/etc/passwd'), {
    status: 409,
    message: '"/etc/passwd" in the container is not a folder.',
  });
  await door.requireFolder(plain, '/tmp/');
  await assert.rejects(door.writeTree(plain, '/tmp', Readable.from([Buffer.alloc(4096, 'no tar')]), never), {
    message: 'The upload is not a readable tar stream.',
  });
  await assert.rejects(door.writeTree(plain, '/', aTar('etc'), never), {
    status: 409,
    message: /would be replaced/,
  });
  assert.match(await docker('exec', plain, 'ls', '/etc'), /passwd/);
});

test('files get the owner that the tar names, whoever the container runs as', needsDocker, async () => {
  const other = await aContainer('--user', '1000:1000');
  await door.writeTree(other, '/tmp', aTar('file', 'content', 1001), never);
  assert.equal(await docker('exec', other, 'stat', '-c', '%u:%g', '/tmp/file'), '1001:1001');
});

test('an upload that is given up does not hold the engine', needsDocker, async () => {
  const stop = new AbortController();
  const endless = new Readable({ read() {} });
  endless.push(Buffer.alloc(512));
  const writing = door.writeTree(plain, '/tmp', endless, stop.signal);
  setTimeout(() => stop.abort(), 100);
  await assert.rejects(writing);
});

test('a container that is gone is told', needsDocker, async () => {
  const gone = await aContainer();
  await docker('rm', '-f', gone);
  await assert.rejects(door.exec(gone, asked('true')), {
    status: 409,
    message: 'The container is not running any more.',
  });
  await assert.rejects(door.readTree(gone, '/etc'), { status: 409 });
});

test('exit code, order of output, and a program that was never started', needsDocker, async () => {
  const exec = await door.exec(
    plain,
    asked('sh', '-c', 'echo a; sleep 0.1; echo b >&2; sleep 0.1; echo c; exit 5'),
  );
  assert.equal(await outputOf(exec), 'stdout:a\nstderr:b\nstdout:c\n');
  assert.deepEqual(await exec.end(never), { exitCode: 5, hasStarted: true });
  const missing = await door.exec(plain, asked('nope'));
  assert.match(await outputOf(missing), /executable file not found/);
  assert.equal((await missing.end(never)).hasStarted, false);
});

test('output that nobody reads makes the program wait', needsDocker, async () => {
  const exec = await door.exec(
    plain,
    asked('sh', '-c', 'dd if=/dev/zero bs=1M count=200; echo done >/tmp/dd-done'),
  );
  await sleep(1_500);
  assert.ok(exec.stdin.readableLength < 1_000_000, `${exec.stdin.readableLength} bytes wait here`);
  await assert.rejects(docker('exec', plain, 'stat', '/tmp/dd-done'));
  let bytes = 0;
  for await (const piece of exec.output) if (piece.stream === 'stdout') bytes += piece.bytes.length;
  assert.equal(bytes, 200 * 1024 * 1024);
});

test('the whole session of a program is ended, and nothing else', needsDocker, async () => {
  const script = 'trap "" HUP; sleep 8881 & sleep 8882 | cat; wait';
  const doomed = await door.exec(plain, asked('sh', '-c', script));
  const stays = await door.exec(plain, asked('sleep', '8883'));
  const programs = () => docker('exec', plain, 'ps', '-o', 'args');
  await eventually('both run', async () => /8882(.|\n)*8883|8883(.|\n)*8882/.test(await programs()));
  await doomed.kill();
  await eventually('its end', async () => !/8881|8882/.test(await programs()));
  assert.match(await programs(), /8883/);
  await stays.kill();
  await eventually('its end', async () => !/8883/.test(await programs()));
});

test('a pid that is not of the container ends nothing', needsDocker, async () => {
  const bystander = spawn('sleep', ['8884'], { detached: true, stdio: 'ignore' });
  try {
    assert.ok(bystander.pid);
    await endSession(bystander.pid, plain);
    await sleep(100);
    assert.equal(bystander.signalCode, null);
    // It would have been found: only the container's name kept it.
    await endSession(bystander.pid, '');
    await eventually('its end', async () => bystander.signalCode === 'SIGHUP');
  } finally {
    bystander.kill('SIGKILL');
  }
});

test('a large tar comes whole, and one that is not read does not fill the agent', needsDocker, async () => {
  await docker('exec', plain, 'sh', '-c', 'dd if=/dev/zero of=/tmp/large bs=1M count=40 2>/dev/null');
  const tar = await door.readTree(plain, '/tmp/large');
  await sleep(300);
  assert.ok(tar.readableLength < 1_000_000);
  let bytes = 0;
  for await (const part of tar as AsyncIterable<Buffer>) bytes += part.length;
  assert.ok(bytes >= 40 * 1024 * 1024);
});
