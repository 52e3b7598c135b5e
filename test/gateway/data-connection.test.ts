// One data connection over a real socket: streams in turn, refusals, breaks, and peers that keep no rule.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import {
  DataConnection,
  type DataConnectionOptions,
  StreamRefused,
} from '../../src/ingress/data-connection.ts';
import type { DataStream } from '../../src/ingress/data-stream.ts';
import { frameHeader } from '../../src/protocol/data-frames.ts';

const opening = { kind: 'port', runUuid: '019582a6-27fc-731d-8000-000000000001', port: 80 } as const;

async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const near = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
  const [far] = (await once(server, 'connection')) as [Socket];
  server.close();
  return [near, far];
}

async function withPair(
  onStream: NonNullable<DataConnectionOptions['onStream']>,
  body: (server: DataConnection, seen: { idleCount: number; closeCount: number }) => Promise<void>,
): Promise<void> {
  const [near, far] = await socketPair();
  const seen = { idleCount: 0, closeCount: 0 };
  const agent = new DataConnection(far, { onStream });
  const server = new DataConnection(near, {
    onIdle: () => {
      seen.idleCount += 1;
    },
    onClose: () => {
      seen.closeCount += 1;
    },
  });
  try {
    await body(server, seen);
  } finally {
    server.destroy();
    agent.destroy();
  }
}

/** All until the other end's end, leaving our side open; rejects when the stream breaks instead. */
function textOf(stream: DataStream): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    stream.on('data', (piece) => {
      text += String(piece);
    });
    stream.once('end', () => resolve(text));
    stream.once('close', () => reject(new Error('The stream broke.')));
  });
}

const echo = (stream: DataStream) => {
  stream.accept();
  stream.pipe(stream);
};

test('streams one after another, each with its own bytes', async () => {
  await withPair(echo, async (server, seen) => {
    for (let at = 0; at < 5; at += 1) {
      const stream = await server.open(opening);
      stream.end(`turn ${at}`);
      assert.equal(await textOf(stream), `turn ${at}`);
      if (!stream.closed) await once(stream, 'close');
    }
    assert.deepEqual(seen, { idleCount: 5, closeCount: 0 });
  });
});

test('what a stream is to reach arrives whole, and a refusal leaves the connection free', async () => {
  const request = { operation: 'read', path: '/etc' };
  const openings: unknown[] = [];
  const refuse = (stream: DataStream, asked: unknown) => {
    openings.push(asked);
    stream.refuse(Object.assign(new Error('Not now.'), { status: 409, code: 'conflict' }));
  };
  await withPair(refuse, async (server, seen) => {
    const files = { ...opening, kind: 'files', request } as const;
    for (const asked of [opening, files]) {
      const error = await server.open(asked).catch((it: unknown) => it);
      assert.ok(error instanceof StreamRefused);
      assert.deepEqual([error.status, error.code, error.message], [409, 'conflict', 'Not now.']);
    }
    assert.deepEqual(openings, [{ ...opening, request: undefined }, files]);
    assert.deepEqual(seen, { idleCount: 2, closeCount: 0 });
  });
});

test('a stream that is destroyed breaks for the other end, and takes the connection with it', async () => {
  let broken: Promise<unknown> | undefined;
  const take = (stream: DataStream) => {
    stream.accept();
    broken = textOf(stream).then(
      () => 'ended',
      () => 'broken',
    );
    stream.write('hello');
  };
  await withPair(take, async (server, seen) => {
    const stream = await server.open(opening);
    await once(stream, 'data');
    stream.destroy();
    assert.equal(await broken, 'broken');
    if (seen.closeCount === 0) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(seen, { idleCount: 0, closeCount: 1 });
    assert.equal(server.isOpen, false);
  });
});

test('a peer that breaks off before it answers is an error for who asked', async () => {
  await withPair(
    (stream) => void stream.destroy(),
    async (server) => {
      await assert.rejects(server.open(opening), /broke/);
    },
  );
});

test('finish delivers what was written and stops the other end', async () => {
  let heard: Promise<string> | undefined;
  let isStopped: Promise<unknown> | undefined;
  const flood = (stream: DataStream) => {
    stream.accept();
    heard = textOf(stream);
    isStopped = new Promise((resolve) => stream.once('close', resolve));
    const more = () => {
      while (stream.writable && stream.write(Buffer.alloc(16_384, 1)));
    };
    stream.on('drain', more);
    more();
  };
  await withPair(flood, async (server) => {
    const stream = await server.open(opening);
    stream.write('last words');
    stream.finish();
    assert.equal(await heard, 'last words');
    await isStopped;
  });
});

test('bytes outside a stream, a second stream on a busy line, and what is no frame end the connection', async () => {
  const wrongs = [
    Buffer.concat([frameHeader('bytes', 3), Buffer.from('abc')]),
    frameHeader('end', 0),
    frameHeader('accept', 0),
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.concat([openFrame(), openFrame()]),
  ];
  for (const wrong of wrongs) {
    const [near, far] = await socketPair();
    const agent = new DataConnection(far, { onStream: (stream) => stream.accept() });
    near.on('error', () => {});
    near.write(wrong);
    near.resume();
    await once(near, 'close');
    assert.equal(agent.isOpen, false);
  }
});

test('an opening that cannot be read is refused, not obeyed', async () => {
  const [near, far] = await socketPair();
  let streamCount = 0;
  const agent = new DataConnection(far, {
    onStream: () => {
      streamCount += 1;
    },
  });
  near.write(Buffer.concat([frameHeader('open', 2), Buffer.from('{}')]));
  const [answer] = (await once(near, 'data')) as [Buffer];
  assert.match(String(answer), /knows no such stream/);
  assert.equal(streamCount, 0);
  near.destroy();
  agent.destroy();
});

function openFrame(): Buffer {
  const payload = Buffer.from(JSON.stringify(opening));
  return Buffer.concat([frameHeader('open', payload.length), payload]);
}
