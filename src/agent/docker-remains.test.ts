// Processes of a container that the agent may not claim to have seen: those of an engine on another machine.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { DockerClient } from './docker-client.ts';
import { DockerRemains } from './docker-remains.ts';

/** An engine that only tells where it is; null: it tells nothing. */
async function anEngine(info: { Name: string; DockerRootDir: string } | null) {
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-engine-'));
  const server = createServer((request, response) => {
    const isVersion = request.url?.startsWith('/version');
    response.writeHead(isVersion || info !== null ? 200 : 500, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(isVersion ? { ApiVersion: '1.41' } : (info ?? { message: 'no' })));
  });
  const socketPath = join(folder, 'sock');
  server.listen(socketPath);
  await once(server, 'listening');
  return {
    remains: new DockerRemains(new DockerClient(socketPath)),
    [Symbol.dispose]() {
      server.close();
      server.closeAllConnections();
      rmSync(folder, { recursive: true });
    },
  };
}

const containerId = 'c0ffee00'.repeat(8);

test('no process of a container is left only where its engine is this machine’s', async () => {
  using own = await anEngine({ Name: hostname(), DockerRootDir: tmpdir() });
  assert.equal(await own.remains.killProcesses(containerId), 0);
  using elsewhere = await anEngine({ Name: `not-${hostname()}`, DockerRootDir: tmpdir() });
  assert.equal(await elsewhere.remains.killProcesses(containerId), null);
  using nested = await anEngine({ Name: hostname(), DockerRootDir: join(tmpdir(), 'no-such-folder') });
  assert.equal(await nested.remains.killProcesses(containerId), null);
  using silent = await anEngine(null);
  assert.equal(await silent.remains.killProcesses(containerId), null);
});
