// A gigabyte each way, plain and over TLS: every byte in its place, and never more than a little of it in memory.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { createSecureContext, connect as tlsConnect } from 'node:tls';
import { makeSelfSigned } from '../../src/cli/self-signed.ts';
import { dial, readAll, startProgram, startRig } from './support/rig.ts';

const blockBytes = 256 * 1024;
const blockCount = 4_096;
/** All four programs on the way are in this process. What is held back grows with what passes: this is a fifth of it. */
const maxGrowthBytes = 200 * 1024 * 1024;
const body = randomBytes(blockBytes - 4);

/** Sends the gigabyte, no block like another, and ends; its digest. */
async function send(socket: Socket): Promise<string> {
  const hash = createHash('sha256');
  for (let number = 0; number < blockCount; number += 1) {
    const block = Buffer.allocUnsafe(blockBytes);
    block.writeUInt32BE(number);
    body.copy(block, 4);
    hash.update(block);
    if (!socket.write(block)) await once(socket, 'drain');
  }
  socket.end();
  return hash.digest('hex');
}

/** The digest of all until the end. */
async function receive(socket: Socket): Promise<string> {
  const hash = createHash('sha256');
  let byteCount = 0;
  await readAll(socket, (chunk) => {
    hash.update(chunk);
    byteCount += chunk.length;
  });
  assert.equal(byteCount, blockBytes * blockCount);
  return hash.digest('hex');
}

/** The most that memory grew while `work` went on. */
async function growthOf(work: () => Promise<void>): Promise<number> {
  const { rss: before } = process.memoryUsage();
  let most = before;
  const sampler = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss);
  }, 20);
  await work().finally(() => clearInterval(sampler));
  return most - before;
}

const { certPem, keyPem } = makeSelfSigned(['localhost'], { nowMs: Date.now(), days: 1 });
const tls = { context: createSecureContext({ cert: certPem, key: keyPem }), isPlainAllowed: false };
const ways: Record<string, { hasTls: boolean; connect: (port: number) => Promise<Socket> }> = {
  plain: { hasTls: false, connect: (port) => dial(port) },
  'over TLS': {
    hasTls: true,
    async connect(port) {
      const socket = tlsConnect({ port, host: '127.0.0.1', servername: 'localhost', ca: certPem });
      await once(socket, 'secureConnect');
      return socket;
    },
  },
};

for (const [way, { hasTls, connect }] of Object.entries(ways)) {
  test(`a gigabyte up, then one down, ${way}`, async () => {
    const rig = await startRig({ tls });
    const digests: Record<string, Promise<string>> = {};
    const program = await startProgram((socket) => {
      digests.arrived = receive(socket);
      digests.answered = digests.arrived.then(() => send(socket));
    });
    try {
      const socket = await connect(await rig.publish(program.port, { hasTls }));
      const growth = await growthOf(async () => {
        const returned = receive(socket);
        const sent = await send(socket);
        assert.equal(await digests.arrived, sent);
        assert.equal(await returned, await digests.answered);
      });
      assert.ok(growth < maxGrowthBytes, `memory grew by ${Math.round(growth / 2 ** 20)} MiB`);
    } finally {
      await rig.close();
      await program.close();
    }
  });
}
