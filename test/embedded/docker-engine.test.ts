// Looking for a Docker Engine, what is told where there is none, and the image made without a registry.

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { extract } from 'tar-stream';
import { isStaticallyLinked, packBusyboxImage } from '../../src/embedded/busybox-image.ts';
import {
  DockerEngineMissing,
  dockerSocketCandidates,
  engineMissing,
  ensureDockerEngine,
  findDockerEngine,
  isDebianLike,
} from '../../src/embedded/docker-engine.ts';
import { isDockerAlive } from '../../src/embedded/docker-socket.ts';
import { scratchFolder } from './fixture.ts';

async function listen(t: TestContext, socketPath: string, status: number): Promise<void> {
  const server = createServer((_, response) => {
    if (status > 0) response.writeHead(status).end('OK');
  }).listen(socketPath);
  await new Promise((resolve) => server.on('listening', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
}

test('DOCKER_HOST is the only place when it is set, else Docker comes before Podman', () => {
  assert.deepEqual(
    dockerSocketCandidates({ DOCKER_HOST: 'unix:///x/sock', XDG_RUNTIME_DIR: '/run/user/1' }),
    ['/x/sock'],
  );
  assert.throws(
    () => dockerSocketCandidates({ DOCKER_HOST: 'tcp://other:2375' }),
    /DOCKER_HOST is tcp:\/\/other:2375/,
  );
  assert.deepEqual(dockerSocketCandidates({ XDG_RUNTIME_DIR: '/run/user/1' }), [
    '/var/run/docker.sock',
    '/run/docker.sock',
    '/run/user/1/docker.sock',
    '/run/podman/podman.sock',
    '/run/user/1/podman/podman.sock',
  ]);
});

test('an engine is alive when it answers, not when its socket exists', async (t) => {
  const folder = scratchFolder(t);
  await listen(t, join(folder, 'alive'), 200);
  await listen(t, join(folder, 'broken'), 500);
  await listen(t, join(folder, 'silent'), 0);
  writeFileSync(join(folder, 'no-socket'), '');
  const alive = await Promise.all(
    ['alive', 'broken', 'silent', 'no-socket', 'absent'].map((name) =>
      isDockerAlive(join(folder, name), 300),
    ),
  );
  assert.deepEqual(alive, [true, false, false, false, false]);
  const env = { DOCKER_HOST: `unix://${join(folder, 'alive')}` };
  assert.deepEqual(await findDockerEngine({ env }), { socketPath: join(folder, 'alive') });
});

test('a DOCKER_HOST that does not answer is told, and nothing is installed or started', async (t) => {
  const folder = scratchFolder(t);
  const env = { DOCKER_HOST: `unix://${join(folder, 'absent')}` };
  const lines: string[] = [];
  const ensured = ensureDockerEngine({ dataDirectory: folder, env, log: (line) => lines.push(line) });
  await assert.rejects(
    ensured,
    (error) => error instanceof DockerEngineMissing && /absent/.test(error.message),
  );
  assert.deepEqual(lines, []);
});

test('the command to run fits the machine', () => {
  const machine = { isRoot: false, isInstalled: false, isDebian: true, hasSocket: false };
  assert.match(
    engineMissing(machine).command,
    /^sudo apt-get update && sudo apt-get install -y docker\.io iptables/,
  );
  assert.match(engineMissing({ ...machine, isDebian: false }).command, /get\.docker\.com/);
  assert.match(engineMissing({ ...machine, hasSocket: true }).command, /usermod -aG docker/);
  assert.match(engineMissing({ ...machine, isInstalled: true }).command, /^sudo systemctl start docker/);
  assert.match(engineMissing(machine).message, /Run: sudo apt-get/);
});

test('Debian and its children are known by os-release', () => {
  assert.equal(isDebianLike('NAME="Debian"\nID=debian\n'), true);
  assert.equal(isDebianLike('ID=linuxmint\nID_LIKE="ubuntu debian"\n'), true);
  assert.equal(isDebianLike('ID=fedora\nHOME_URL="https://debian.example"\n'), false);
});

test('the image holds the program, a link for each command, and a /tmp for everybody', async (t) => {
  const program = join(scratchFolder(t), 'busybox');
  mkdirSync(join(program, '..'), { recursive: true });
  writeFileSync(program, '#!/bin/sh\nprintf "busybox\\nsh\\nls\\n"\n', { mode: 0o755 });
  const entries: Record<string, string> = {};
  const untar = Readable.from([await packBusyboxImage(program)]).pipe(extract());
  for await (const entry of untar) {
    const { name, type, mode = 0, linkname } = entry.header;
    entries[name.replace(/\/$/, '')] = linkname ?? `${type} ${mode.toString(8)}`;
    await text(entry);
  }
  assert.equal(entries['bin/busybox'], 'file 755');
  assert.equal(entries['bin/sh'], 'busybox');
  assert.equal(entries['bin/ls'], 'busybox');
  assert.equal(entries.tmp, 'directory 1777');
  assert.ok('etc/passwd' in entries);
});

test('a program that needs shared libraries is not taken for the image', (t) => {
  assert.equal(isStaticallyLinked('/bin/sh'), false);
  const script = join(scratchFolder(t), 'script');
  writeFileSync(script, '#!/bin/sh\n');
  assert.equal(isStaticallyLinked(script), false);
});
