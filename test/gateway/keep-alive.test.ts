// What finds a peer that is gone: TCP keep-alive on every socket of a connection, and a break that looks like one.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { until, withConnection } from './support/connection.ts';
import { startDirectRig } from './support/direct-rig.ts';
import { ending, startRig } from './support/rig.ts';

const doors = { gateway: () => startRig(), direct: () => startDirectRig() };

for (const [name, startDoor] of Object.entries(doors)) {
  test(`${name}: the kernel looks after every socket on the way`, async () => {
    await withConnection(startDoor, async ({ door, port, containerPort }) => {
      const { dataPort } = door;
      const ours = () => {
        const sockets = tcpSockets();
        return [
          ...sockets.filter(({ local }) => local === port),
          ...sockets.filter(({ remote }) => remote === containerPort),
          ...sockets.filter(({ local, remote }) => local === dataPort || remote === dataPort),
        ];
      };
      // Towards client and container, and both ends of the data connection.
      assert.ok(ours().length >= (dataPort === undefined ? 2 : 4), JSON.stringify(ours()));
      // Another timer stands in this one's place while an answer to what was sent is awaited.
      await until(() => ours().every(({ isKeptAlive }) => isKeptAlive));
    });
  });
}

/** Connected TCP sockets of this network; timer 2 is keep-alive's. Source: proc_net_tcp.txt of the kernel's documentation. */
function tcpSockets(): { local: number; remote: number; isKeptAlive: boolean }[] {
  const lines = ['tcp', 'tcp6'].flatMap((file) =>
    readFileSync(`/proc/net/${file}`, 'utf8').split('\n').slice(1),
  );
  return lines.flatMap((line) => {
    const [, local = '', remote = '', state, , timer = ''] = line.trim().split(/\s+/);
    if (state !== '01') return [];
    const portOf = (address: string) => Number.parseInt(address.split(':').at(-1) ?? '', 16);
    return [{ local: portOf(local), remote: portOf(remote), isKeptAlive: timer.startsWith('02:') }];
  });
}

test('when the data connection is given up, the client sees a break, not an end', async () => {
  const rig = await startRig();
  await withConnection(
    () => Promise.resolve(rig),
    async ({ client }) => {
      const end = ending(client);
      rig.connections.close();
      assert.equal(await end, 'broken');
    },
  );
});
