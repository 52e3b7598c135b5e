// The rules of a public port, one by one, where the gateway serves it and where the node's own agent does.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type Door, startDirectRig } from './support/direct-rig.ts';
import { dial, ending, readAll, startProgram, startRig } from './support/rig.ts';

const doors: Record<string, () => Promise<Door>> = {
  gateway: () => startRig({ host: '::' }),
  direct: () => startDirectRig(),
};

interface Place {
  door: Door;
  containerPort: number;
  sockets: Set<Socket>;
  /** Connections that the program ever saw. */
  seen: () => number;
}

/** Once for each way in, before a program. */
function onBoth(rule: string, serve: (socket: Socket) => void, body: (place: Place) => Promise<void>): void {
  for (const [name, startDoor] of Object.entries(doors))
    test(`${name}: ${rule}`, async () => {
      let seenCount = 0;
      const door = await startDoor();
      const program = await startProgram((socket) => {
        seenCount += 1;
        serve(socket);
      });
      try {
        await body({ door, containerPort: program.port, sockets: program.sockets, seen: () => seenCount });
      } finally {
        await door.close();
        await program.close();
      }
    });
}

const echo = (socket: Socket) => void socket.pipe(socket);
const silent = () => {};

async function say(socket: Socket, text: string): Promise<string> {
  socket.end(text);
  return String(await readAll(socket));
}

async function until(what: string, isTrue: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500 && !isTrue(); tries += 1) await delay(10);
  assert.ok(isTrue(), what);
}

onBoth('who is not allowed is closed unheard and counted, over IPv4 and IPv6', echo, async (place) => {
  const { door, containerPort, seen } = place;
  const lists: [string[], string][] = [
    [['192.0.2.0/24'], '127.0.0.1'],
    [['192.0.2.0/24', '2001:db8::1'], '::1'],
    [['127.0.0.2', '::1/128'], '127.0.0.1'],
  ];
  for (const [allowedIps, host] of lists) {
    const port = await door.publish(containerPort, { allowedIps });
    const socket = await dial(port, host);
    socket.write('let me in');
    await ending(socket);
  }
  await until('three refusals are counted', () => door.refusedCount() === 3);
  assert.equal(seen(), 0);
});

onBoth('an address, a range, an empty list and 0.0.0.0/0 let in whom they name', echo, async (place) => {
  const { door, containerPort } = place;
  const lists: [string[], string][] = [
    [['127.0.0.1'], '127.0.0.1'],
    [['192.0.2.1', '127.0.0.0/8'], '127.0.0.1'],
    [['::1'], '::1'],
    [[], '::1'],
    [['0.0.0.0/0'], '::1'],
  ];
  for (const [allowedIps, host] of lists) {
    const port = await door.publish(containerPort, { allowedIps });
    assert.equal(await say(await dial(port, host), 'welcome'), 'welcome', `${allowedIps} for ${host}`);
  }
  await delay(200);
  assert.equal(door.refusedCount(), 0);
});

onBoth(
  'the client ends first and still hears the answer',
  answerAfterEnd,
  async ({ door, containerPort }) => {
    const port = await door.publish(containerPort);
    assert.equal(await say(await dial(port), 'only this'), 'you said only this');
  },
);

function answerAfterEnd(socket: Socket): void {
  void readAll(socket).then((question) => socket.end(`you said ${question}`));
}

onBoth(
  'the program ends first and still hears the client',
  endFirst,
  async ({ door, containerPort, sockets }) => {
    const port = await door.publish(containerPort);
    const socket = await dial(port);
    const heard = once(socket, 'data');
    assert.equal(String((await heard)[0]), 'bye');
    const [served] = sockets;
    assert.ok(served);
    const late = readAll(served);
    socket.end('late words');
    assert.equal(String(await late), 'late words');
  },
);

function endFirst(socket: Socket): void {
  socket.end('bye');
}

onBoth('a broken end is broken for the other', silent, async ({ door, containerPort, sockets }) => {
  const port = await door.publish(containerPort);
  const first = await dial(port);
  await until('the program has the connection', () => sockets.size === 1);
  const [served] = sockets;
  assert.ok(served);
  const end = ending(served);
  first.resetAndDestroy();
  assert.equal(await end, 'broken');
  const second = await dial(port);
  const lost = ending(second);
  await until('the program has the second', () => sockets.size === 1);
  for (const socket of sockets) socket.resetAndDestroy();
  assert.equal(await lost, 'broken');
});

onBoth(
  'a port that is withdrawn ends what is open, a stalled reader too, and takes no more',
  flood,
  async (place) => {
    const { door, containerPort, sockets } = place;
    const port = await door.publish(containerPort);
    const [reader, stalled] = [await dial(port), await dial(port)];
    const readerEnd = ending(reader);
    stalled.pause();
    await until('the program serves both', () => sockets.size === 2);
    door.unpublish(port);
    await readerEnd;
    await until('the program lost both', () => sockets.size === 0);
    await assert.rejects(dial(port), /ECONNREFUSED/);
    stalled.destroy();
  },
);

function flood(socket: Socket): void {
  const block = Buffer.alloc(65_536, 7);
  const more = () => {
    while (socket.write(block));
  };
  socket.on('drain', more);
  more();
}

onBoth(
  'a port that is given to another run has none of the connections of the former',
  echo,
  async (place) => {
    const { door, containerPort } = place;
    const port = await door.publish(containerPort);
    const former = await dial(port);
    former.write('x');
    await once(former, 'data');
    const end = ending(former);
    door.unpublish(port);
    await door.publish(containerPort, { port, allowedIps: ['127.0.0.1'] });
    await end;
    assert.equal(await say(await dial(port), 'new'), 'new');
  },
);

onBoth('a run that is not here any more breaks off at once', echo, async ({ door, containerPort }) => {
  const port = await door.publish(containerPort);
  door.setRunning(false);
  // So soon, perhaps, that the client never thinks it was connected.
  const how = await dial(port).then(ending, () => 'broken');
  assert.equal(how, 'broken');
});

onBoth('a port that does not listen yet is waited for', echo, async ({ door }) => {
  const { port: containerPort, close } = await startProgram(echo);
  await close();
  const port = await door.publish(containerPort);
  const socket = await dial(port);
  socket.write('patience');
  await delay(300);
  const server = createServer((it) => void it.on('error', silent).pipe(it));
  server.listen(containerPort, '127.0.0.1');
  const [answer] = await once(socket, 'data');
  assert.equal(String(answer), 'patience');
  socket.destroy();
  server.close();
});
