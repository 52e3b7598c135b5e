// The public door over real sockets: who may enter, the PROXY protocol, TLS, and what no program must ever see.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { createSecureContext, connect as tlsConnect } from 'node:tls';
import { makeSelfSigned } from '../../src/cli/self-signed.ts';
import { rangesRule } from '../../src/ingress/address-rules.ts';
import { dial, ending, type Rig, type RigOptions, readAll, startProgram, startRig } from './support/rig.ts';

const { certPem, keyPem } = makeSelfSigned(['localhost'], { nowMs: Date.now(), days: 1 });
const context = createSecureContext({ cert: certPem, key: keyPem });

/** A program that echoes, and how many connections it ever saw. */
async function withEcho(
  options: RigOptions,
  body: (place: { rig: Rig; containerPort: number; seen: () => number }) => Promise<void>,
): Promise<void> {
  let seenCount = 0;
  const rig = await startRig(options);
  const program = await startProgram((socket) => {
    seenCount += 1;
    socket.pipe(socket);
  });
  try {
    await body({ rig, containerPort: program.port, seen: () => seenCount });
  } finally {
    await rig.close();
    await program.close();
  }
}

async function echo(socket: Socket, text: string): Promise<string> {
  socket.end(text);
  return String(await readAll(socket));
}

test('an address that is not allowed is closed and counted, and the program never hears of it', async () => {
  await withEcho({}, async ({ rig, containerPort, seen }) => {
    const port = await rig.publish(containerPort, { allowedIps: ['192.0.2.0/24'] });
    for (let at = 0; at < 3; at += 1) {
      const socket = await dial(port);
      socket.write('let me in');
      await ending(socket);
    }
    assert.equal(rig.refusedCount(), 3);
    assert.equal(seen(), 0);
    const open = await rig.publish(containerPort, { allowedIps: ['127.0.0.1'] });
    assert.equal(await echo(await dial(open), 'welcome'), 'welcome');
    assert.equal(rig.refusedCount(), 3);
  });
});

test("the operator's ranges pass whatever the job says", async () => {
  await withEcho({ operatorRanges: ['127.0.0.0/8'] }, async ({ rig, containerPort }) => {
    const port = await rig.publish(containerPort, { allowedIps: ['192.0.2.0/24'] });
    assert.equal(await echo(await dial(port), 'operator'), 'operator');
  });
});

test('behind a trusted proxy the client counts, and its header never reaches the program', async () => {
  const options = { trustedProxies: rangesRule(['127.0.0.1']) };
  await withEcho(options, async ({ rig, containerPort, seen }) => {
    const port = await rig.publish(containerPort, { allowedIps: ['192.0.2.0/24'] });
    const allowed = await dial(port);
    assert.equal(await echo(allowed, 'PROXY TCP4 192.0.2.5 10.0.0.1 1 2\r\nhello'), 'hello');
    const inPieces = await dial(port);
    for (const piece of ['PRO', 'XY TCP4 192.0.2.5 10.0', '.0.1 1 2\r', '\nhel']) {
      inPieces.write(piece);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.equal(await echo(inPieces, 'lo'), 'hello');
    const foreign = await dial(port);
    foreign.write('PROXY TCP4 198.51.100.1 10.0.0.1 1 2\r\nhello');
    await ending(foreign);
    assert.equal(rig.refusedCount(), 1);
    const silent = await dial(port);
    silent.write('GET / HTTP/1.1\r\n\r\n');
    await ending(silent);
    assert.equal(rig.refusedCount(), 1, 'no header is a broken proxy, not a refused client');
    assert.equal(seen(), 2);
  });
});

test('a peer that is no trusted proxy cannot say who it is', async () => {
  const options = { trustedProxies: rangesRule(['10.0.0.1']) };
  await withEcho(options, async ({ rig, containerPort }) => {
    const port = await rig.publish(containerPort, { allowedIps: ['192.0.2.0/24'] });
    const liar = await dial(port);
    liar.write('PROXY TCP4 192.0.2.5 10.0.0.1 1 2\r\nhello');
    await ending(liar);
    assert.equal(rig.refusedCount(), 1);
  });
});

test('TLS ends at the port: the program sees plain bytes, both halves close, plain clients are turned away', async () => {
  await withEcho({ tls: { context, isPlainAllowed: false } }, async ({ rig, containerPort, seen }) => {
    const port = await rig.publish(containerPort, { hasTls: true });
    const secure = tlsConnect({ port, host: '127.0.0.1', servername: 'localhost', ca: certPem });
    await once(secure, 'secureConnect');
    assert.ok(secure.authorized);
    assert.equal(await echo(secure, 'x'.repeat(1_000_000)), 'x'.repeat(1_000_000));
    const plain = await dial(port);
    plain.write('GET / HTTP/1.1\r\n\r\n');
    await ending(plain);
    assert.equal(seen(), 1);
    const ssh = await rig.publish(containerPort, { hasTls: false });
    assert.equal(await echo(await dial(ssh), 'SSH-2.0-x'), 'SSH-2.0-x');
  });
});

test('where plain is allowed too, both pass, also when the server speaks first', async () => {
  const rig = await startRig({ tls: { context, isPlainAllowed: true } });
  const program = await startProgram((socket) => void socket.end('220 welcome'));
  try {
    const port = await rig.publish(program.port, { hasTls: true });
    assert.equal(String(await readAll(await dial(port))), '220 welcome');
    const secure = tlsConnect({ port, host: '127.0.0.1', servername: 'localhost', ca: certPem });
    assert.equal(String(await readAll(secure)), '220 welcome');
    const talkative = await dial(port);
    talkative.write('EHLO');
    assert.equal(String(await readAll(talkative)), '220 welcome');
  } finally {
    await rig.close();
    await program.close();
  }
});

test('a proxy, then TLS, then the client', async () => {
  const options = { trustedProxies: rangesRule(['127.0.0.1']), tls: { context, isPlainAllowed: false } };
  await withEcho(options, async ({ rig, containerPort }) => {
    const port = await rig.publish(containerPort, { hasTls: true, allowedIps: ['192.0.2.5'] });
    const socket = await dial(port);
    socket.write('PROXY TCP4 192.0.2.5 10.0.0.1 1 2\r\n');
    const secure = tlsConnect({ socket, servername: 'localhost', ca: certPem });
    await once(secure, 'secureConnect');
    assert.equal(await echo(secure, 'all three'), 'all three');
  });
});

test('a stranger cannot become a data connection', async () => {
  let asked = 0;
  const authenticate = () => {
    asked += 1;
    return Promise.reject(Object.assign(new Error('no'), { status: 401, code: 'signature_invalid' }));
  };
  const rig = await startRig({ authenticate });
  const program = await startProgram((socket) => void socket.pipe(socket));
  try {
    const port = await rig.publish(program.port);
    const socket = await dial(port);
    const end = ending(socket);
    while (asked === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    socket.destroy();
    await end;
    assert.ok(rig.warnings.includes('a data connection could not be dialled'));
  } finally {
    await rig.close();
    await program.close();
  }
});
