// Bytes through gateway, data connection and agent: in order, both ways, half-closed, slow, large, broken, many.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { dial, ending, type Rig, readAll, startProgram, startRig } from './support/rig.ts';

async function withProgram(
  serve: (socket: Socket) => void,
  body: (place: { rig: Rig; port: number; containerPort: number; sockets: Set<Socket> }) => Promise<void>,
): Promise<void> {
  const rig = await startRig();
  const program = await startProgram(serve);
  try {
    const containerPort = program.port;
    await body({ rig, port: await rig.publish(containerPort), containerPort, sockets: program.sockets });
  } finally {
    await rig.close();
    await program.close();
  }
}

const echo = (socket: Socket) => void socket.pipe(socket);
const tick = () => delay(10);

async function until(what: string, look: () => boolean, limitMs = 5_000): Promise<void> {
  const giveUpAt = performance.now() + limitMs;
  while (!look()) {
    assert.ok(performance.now() < giveUpAt, `not within ${limitMs} ms: ${what}`);
    await tick();
  }
}

test('an echo comes back whole, many at once', async () => {
  await withProgram(echo, async ({ port }) => {
    const answers = await Promise.all(Array.from({ length: 200 }, (_, at) => say(port, `hello ${at}`)));
    assert.deepEqual(
      answers,
      Array.from({ length: 200 }, (_, at) => `hello ${at}`),
    );
  });
});

test('one after another over the same data connections', async () => {
  await withProgram(echo, async ({ rig, port }) => {
    for (let at = 0; at < 50; at += 1) assert.equal(await say(port, `hello ${at}`), `hello ${at}`);
    // Two at first, one of them spare; more only where an end is still on its way when the next stream is opened.
    assert.ok(rig.dialCount() < 10, `${rig.dialCount()} data connections for 50 streams`);
  });
});

async function say(port: number, text: string): Promise<string> {
  const socket = await dial(port);
  socket.end(text);
  return String(await readAll(socket));
}

test('the client ends first and still hears the answer', async () => {
  const serve = async (socket: Socket) => {
    const question = await readAll(socket);
    await tick();
    socket.end(`you said ${question}`);
  };
  await withProgram(
    (socket) => void serve(socket),
    async ({ port }) => {
      const socket = await dial(port);
      socket.end('only this');
      assert.equal(String(await readAll(socket)), 'you said only this');
    },
  );
});

test('the program ends first and still hears the client', async () => {
  let heard = '';
  const serve = async (socket: Socket) => {
    socket.end('bye');
    heard = String(await readAll(socket));
  };
  await withProgram(
    (socket) => void serve(socket),
    async ({ port }) => {
      const socket = await dial(port);
      assert.equal(String(await readAll(socket)), 'bye');
      socket.write('late ');
      await tick();
      socket.end('words');
      await until('the program heard it', () => heard === 'late words');
    },
  );
});

test('a program that closes for good loses none of its bytes to a slow client', async () => {
  const bytes = randomBytes(3_000_000);
  const serve = async (socket: Socket) => {
    await once(socket, 'data');
    socket.write(bytes);
    socket.destroySoon();
  };
  await withProgram(
    (socket) => void serve(socket),
    async ({ port }) => {
      const socket = await dial(port);
      socket.write('all of it, please');
      await delay(100);
      assert.ok((await readAll(socket)).equals(bytes));
    },
  );
});

test('a client that breaks off is a broken connection for the program, and the other way round', async () => {
  await withProgram(
    () => {},
    async ({ port, sockets }) => {
      const first = await dial(port);
      await until('the program has the connection', () => sockets.size === 1);
      const [served] = sockets;
      assert.ok(served);
      const served1 = ending(served);
      first.resetAndDestroy();
      assert.equal(await served1, 'broken');
      const second = await dial(port);
      await until('the program has the second', () => sockets.size === 1);
      const end = ending(second);
      for (const socket of sockets) socket.resetAndDestroy();
      assert.equal(await end, 'broken');
    },
  );
});

test('64 MB each way arrive with the right hash', async () => {
  const blockCount = 1_024;
  const block = randomBytes(65_536);
  const expected = createHash('sha256');
  for (let at = 0; at < blockCount; at += 1) expected.update(block);
  const digest = expected.digest('hex');
  const received = createHash('sha256');
  const serve = async (socket: Socket) => {
    await readAll(socket, (chunk) => void received.update(chunk));
    await send(socket, { block, blockCount });
  };
  await withProgram(
    (socket) => void serve(socket),
    async ({ port }) => {
      const socket = await dial(port);
      await send(socket, { block, blockCount });
      const back = createHash('sha256');
      await readAll(socket, (chunk) => void back.update(chunk));
      assert.equal(received.digest('hex'), digest);
      assert.equal(back.digest('hex'), digest);
    },
  );
});

async function send(socket: Socket, { block, blockCount }: { block: Buffer; blockCount: number }) {
  for (let at = 0; at < blockCount; at += 1) if (!socket.write(block)) await once(socket, 'drain');
  socket.end();
}

test('a reader that stalls stops its writer, and nobody else', async () => {
  let sentBytes = 0;
  const block = Buffer.alloc(65_536, 7);
  const flood = async (socket: Socket) => {
    while (!socket.destroyed) {
      sentBytes += block.length;
      if (!socket.write(block)) await Promise.race([once(socket, 'drain'), once(socket, 'close')]);
    }
  };
  await withProgram(
    (socket) => void flood(socket),
    async ({ port, rig }) => {
      const stalled = await dial(port);
      stalled.pause();
      let before = -1;
      await until('the writer stopped', () => {
        const isQuiet = before === sentBytes && sentBytes > 0;
        before = sentBytes;
        return isQuiet;
      });
      const talker = await startProgram(echo);
      const echoPort = await rig.publish(talker.port);
      const socket = await dial(echoPort);
      socket.end('through');
      assert.equal(String(await readAll(socket)), 'through');
      stalled.destroy();
      await talker.close();
    },
  );
});

test('500 stalled readers do not hold up a new connection', async () => {
  const block = Buffer.alloc(65_536, 7);
  const flood = (socket: Socket) => {
    const more = () => {
      while (socket.write(block));
    };
    socket.on('drain', more);
    more();
  };
  await withProgram(flood, async ({ port, rig }) => {
    const talker = await startProgram(echo);
    const echoPort = await rig.publish(talker.port);
    const stalled = await Promise.all(Array.from({ length: 500 }, () => dial(port)));
    await delay(1_500);
    const socket = await dial(echoPort);
    socket.end('through');
    assert.equal(String(await readAll(socket)), 'through');
    for (const it of stalled) it.destroy();
    await talker.close();
  });
});

test('a port that listens late is waited for', async () => {
  const rig = await startRig();
  try {
    const late = await startProgram(echo);
    const { port: containerPort } = late;
    await late.close();
    const port = await rig.publish(containerPort);
    const socket = await dial(port);
    socket.write('patience');
    await delay(300);
    const server = createServer((it) => {
      it.on('error', () => {});
      it.pipe(it);
    }).listen(containerPort, '127.0.0.1');
    const [answer] = await once(socket, 'data');
    assert.equal(String(answer), 'patience');
    socket.destroy();
    server.close();
  } finally {
    await rig.close();
  }
});

test('a run that is not here, and a port it does not publish, are broken off at once', async () => {
  await withProgram(echo, async ({ rig, port }) => {
    const foreign = await rig.publish(1, { runId: '019582a6-27fc-731d-8000-00000000dead' });
    assert.equal(await ending(await dial(foreign)), 'broken');
    rig.setRunning(false);
    assert.equal(await ending(await dial(port)), 'broken');
    rig.setRunning(true);
    const socket = await dial(port);
    socket.end('again');
    assert.equal(String(await readAll(socket)), 'again');
  });
});

test('a port that closes ends its open connections and refuses new ones, and leaves other ports alone', async () => {
  await withProgram(echo, async ({ rig, port, containerPort }) => {
    const other = await rig.publish(containerPort);
    const [open, kept] = await Promise.all([dial(port), dial(other)]);
    for (const socket of [open, kept]) {
      socket.write('x');
      await once(socket, 'data');
    }
    const end = ending(open);
    rig.unpublish(port);
    await end;
    await assert.rejects(dial(port));
    kept.write('y');
    assert.equal(String((await once(kept, 'data'))[0]), 'y');
    kept.destroy();
  });
});

test('a port that is given out again serves anew, without the connections of before', async () => {
  await withProgram(echo, async ({ rig, port, containerPort }) => {
    const open = await dial(port);
    open.write('x');
    await once(open, 'data');
    const end = ending(open);
    rig.unpublish(port);
    await end;
    assert.equal(await rig.publish(containerPort, { port }), port);
    const socket = await dial(port);
    socket.end('new');
    assert.equal(String(await readAll(socket)), 'new');
  });
});
