// One connection through a public port: a client and a program that have it, for the length of a test.
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import type { Door } from './direct-rig.ts';
import { dial, startProgram } from './rig.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Waits by turns of the event loop and the wall clock, so that timers may stand still. */
export async function until(isTrue: () => boolean): Promise<void> {
  for (const giveUpAt = Date.now() + 10_000; !isTrue(); await turn())
    assert.ok(Date.now() < giveUpAt, String(isTrue));
}

export interface Joined {
  door: Door;
  client: Socket;
  served: Socket;
  port: number;
  containerPort: number;
}

/** A client and a program that have a connection. */
export async function withConnection(
  startDoor: () => Promise<Door>,
  body: (joined: Joined) => Promise<void>,
): Promise<void> {
  const door = await startDoor();
  const program = await startProgram(() => {});
  const port = await door.publish(program.port);
  const client = await dial(port);
  try {
    await until(() => program.sockets.size === 1);
    const [served] = program.sockets;
    assert.ok(served);
    await body({ door, client, served, port, containerPort: program.port });
  } finally {
    client.destroy();
    await door.close();
    await program.close();
  }
}
