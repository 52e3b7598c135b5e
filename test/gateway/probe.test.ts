// Readiness of ports: told when a program listens, when it no longer does, and with the host key of a real SSH server.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import ssh2 from 'ssh2';
import { type Clock, systemClock } from '../../src/agent/clock.ts';
import { PortProbes, type PortReading } from '../../src/agent/port-probe.ts';
import { readSshHostKey } from '../../src/agent/ssh-host-key.ts';
import { openSocket } from '../../src/agent/tunnel-port.ts';
import { startProgram } from './support/rig.ts';

/** Waits a hundredth of what is asked. */
const hasty: Clock = { ...systemClock, after: (delayMs, task) => systemClock.after(delayMs / 100, task) };

async function watch(
  containerPort: number,
  body: (place: {
    next: () => Promise<PortReading>;
    setHealth: (isHealthy: boolean | null) => void;
  }) => Promise<void>,
): Promise<void> {
  const readings: PortReading[] = [];
  let isHealthy: boolean | null = null;
  const probes = new PortProbes({
    runtime: { containerAddress: () => Promise.resolve({ address: '127.0.0.1', isHealthy }) },
    clock: hasty,
    onReading: (reading) => void readings.push(reading),
  });
  probes.sync([{ runUuid: 'r', attempt: 1, containerId: 'c', publishedPorts: [containerPort] }]);
  const next = async () => {
    const giveUpAt = performance.now() + 5_000;
    for (;;) {
      const reading = readings.shift();
      if (reading !== undefined) return reading;
      assert.ok(performance.now() < giveUpAt, 'no reading in 5 s');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  try {
    await body({
      next,
      setHealth: (value) => {
        isHealthy = value;
      },
    });
  } finally {
    probes.close();
  }
}

test('a port is ready once something listens, not ready when it is gone for a while, and ready again', async () => {
  const first = await startProgram(() => {});
  const { port } = first;
  await first.close();
  await watch(port, async ({ next }) => {
    await new Promise((resolve) => setTimeout(resolve, 100));
    for (const _round of [1, 2]) {
      const server = createServer((socket) => socket.destroy()).listen(port, '127.0.0.1');
      assert.deepEqual(await next(), {
        runUuid: 'r',
        attempt: 1,
        containerPort: port,
        isReady: true,
        hostKey: null,
      });
      server.close();
      assert.equal((await next()).isReady, false);
    }
  });
});

test('where the image has a health check, that counts too', async () => {
  const program = await startProgram((socket) => socket.destroy());
  await watch(program.port, async ({ next, setHealth }) => {
    assert.equal((await next()).isReady, true);
    setHealth(false);
    assert.equal((await next()).isReady, false);
    setHealth(true);
    assert.equal((await next()).isReady, true);
  });
  await program.close();
});

test("an SSH server's host key is read without a login; other servers have none", async () => {
  const key = ssh2.utils.generateKeyPairSync('ed25519');
  let loginCount = 0;
  const server = new ssh2.Server({ hostKeys: [key.private] }, (client) => {
    client.on('error', () => {});
    client.on('authentication', (context) => {
      loginCount += 1;
      context.reject();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest();
  const { port } = server.address() as AddressInfo;
  const fingerprint = await readSshHostKey(await openSocket('127.0.0.1', port), sha256);
  const [, blob = ''] = key.public.split(' ');
  const expected = sha256(Buffer.from(blob, 'base64')).toString('base64').replace(/=+$/, '');
  assert.equal(fingerprint, `SHA256:${expected}`);
  assert.equal(loginCount, 0);
  server.close();
  const web = await startProgram((socket) => void socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  assert.equal(await readSshHostKey(await openSocket('127.0.0.1', web.port), sha256), null);
  await web.close();
});
