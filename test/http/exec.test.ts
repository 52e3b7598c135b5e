// Exec: who gets a ticket, what a ticket opens and how often, and frames between WebSocket and stream.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { before, test } from 'node:test';
import { WebSocket } from 'ws';
import { newId } from '../../src/main/ids.ts';
import { channels, type ExecTicket } from '../../src/protocol/exec.ts';
import { encodeFrame, type Frame, FrameReader } from '../../src/protocol/frames.ts';
import { type ANode, aJob, aNode } from '../support/builders.ts';
import { exited, type PlacedRun, place, preparing, report, running } from '../support/runs.ts';
import { eventually, setSqlClock, startTestServer } from '../support/server.ts';
import { fakeStreams, type Opened, refusedBy } from './support/fake-streams.ts';

const streams = fakeStreams();
const server = await startTestServer({ hasScheduler: false, streams });
const { admin, database } = server;
let node: ANode;

before(async () => {
  node = await aNode(server);
});

async function aRunningRun(): Promise<PlacedRun & { jobId: string }> {
  const job = await admin.createJob(aJob());
  const run = await place(server, job.uuid, node.id);
  await report(server, run, preparing);
  await report(server, run, running);
  return { ...run, jobId: job.uuid };
}

function buy(runId: string, body: object = { command: ['sh'] }): Promise<ExecTicket> {
  return admin.ask('POST', `/v1/job-runs/${runId}/exec`, { body });
}

/** A WebSocket on the ticket's path, with the messages that came. */
async function connect(path: string) {
  const socket = new WebSocket(new URL(path, server.url.replace(/^http/, 'ws')), {
    perMessageDeflate: false,
  });
  const messages: Frame[] = [];
  socket.on('message', (data: Buffer) =>
    messages.push({ channel: data[0] ?? -1, payload: data.subarray(1) }),
  );
  const closed = once(socket, 'close');
  await once(socket, 'open');
  return { socket, messages, closed };
}

async function refusalOf(path: string): Promise<{ code: string; message: string }> {
  const { messages, closed } = await connect(path);
  await closed;
  const [only, ...others] = messages;
  assert.deepEqual([only?.channel, others], [channels.error, []]);
  return JSON.parse(Buffer.from(only?.payload ?? []).toString());
}

function lastOpened(): Opened {
  const opened = streams.opened.at(-1);
  assert.ok(opened, 'a stream was opened');
  return opened;
}

test('a ticket opens one WebSocket to that run with that command, once', async () => {
  const run = await aRunningRun();
  const ticket = await buy(run.id, { command: ['top', '-b'], tty: true, cols: 80, rows: 24 });
  assert.equal(ticket.job_run_uuid, run.id);
  assert.ok(Date.parse(ticket.expires_at) > Date.now());
  const first = await connect(ticket.path);
  await eventually('the stream', async () => streams.opened.length > 0);
  const { run: asked, target } = lastOpened();
  assert.deepEqual(asked, { nodeId: node.id, runId: run.id });
  assert.deepEqual(target, {
    kind: 'exec',
    request: { command: ['top', '-b'], tty: true, cols: 80, rows: 24 },
  });
  assert.equal((await refusalOf(ticket.path)).code, 'permission_denied');
  first.socket.close();
  await first.closed;
});

test('what was run by whom is in the events of the job', async () => {
  const run = await aRunningRun();
  await buy(run.id, { command: ['id', '-u'] });
  const events = await database.query<{ actor: unknown; detail: unknown; job_id: string }>(
    "select job_id, actor, detail from job_events where run_id = $1 and kind = 'exec'",
    [run.id],
  );
  assert.deepEqual(events, [
    {
      job_id: run.jobId,
      actor: {
        kind: 'key',
        key_uuid: server.adminKey.id,
        public_key: server.adminKey.publicKey,
        address: '127.0.0.1',
      },
      detail: { command: ['id', '-u'], tty: false },
    },
  ]);
});

test('a ticket of another run, a made-up one and an expired one open nothing', async () => {
  const [run, other] = [await aRunningRun(), await aRunningRun()];
  const opened = streams.opened.length;
  const ticket = await buy(run.id);
  assert.match((await refusalOf(ticket.path.replace(run.id, other.id))).message, /unknown, used or expired/);
  assert.equal((await refusalOf(`/v1/job-runs/${run.id}/exec?ticket=abc`)).code, 'permission_denied');
  const late = await buy(run.id);
  try {
    await setSqlClock(server, 61_000);
    assert.equal((await refusalOf(late.path)).code, 'permission_denied');
  } finally {
    await setSqlClock(server, 0);
  }
  assert.equal(streams.opened.length, opened);
});

test('a ticket is sold for a running container of the own account, with the permission, and for nothing else', async () => {
  const run = await aRunningRun();
  const path = `/v1/job-runs/${run.id}/exec`;
  const body = { command: ['sh'] };
  const accountId = await server.createAccount('exec elsewhere');
  const foreign = server.client(await server.createKey({ accountId }));
  assert.equal((await foreign.refusal('POST', path, { body })).status, 404);
  const reader = server.client(await server.createKey({ permissions: ['jobs:read', 'jobs:create'] }));
  const denied = await reader.refusal('POST', path, { body });
  assert.deepEqual([denied.status, (denied.details as { required: string }).required], [403, 'jobs:exec']);
  assert.equal((await admin.refusal('POST', `/v1/job-runs/${newId()}/exec`, { body })).status, 404);
  await report(server, run, exited(0));
  const ended = await admin.refusal('POST', path, { body });
  assert.equal(ended.status, 409);
  assert.match(ended.message, /The job run is \w+; its container is not running\./);
});

test('a run that ended between ticket and WebSocket is told', async () => {
  const run = await aRunningRun();
  const ticket = await buy(run.id);
  await report(server, run, exited(0));
  assert.equal((await refusalOf(ticket.path)).code, 'conflict');
});

test('every wrong field is named', async () => {
  const run = await aRunningRun();
  const issues = await admin.issues('POST', `/v1/job-runs/${run.id}/exec`, {
    body: { command: [], tty: 'yes', cols: 0, shell: 'sh' },
  });
  assert.deepEqual([...issues.keys()].sort(), ['cols', 'command', 'shell', 'tty']);
  const long = await admin.issues('POST', `/v1/job-runs/${run.id}/exec`, {
    body: { command: ['x'.repeat(40_000)] },
  });
  assert.match(long.get('command')?.expected ?? '', /32 KiB/);
});

test('frames go through both ways; other channels of the client do not', async () => {
  const { id } = await aRunningRun();
  const { socket, messages, closed } = await connect((await buy(id)).path);
  await eventually('the stream', async () => lastOpened().run.runId === id);
  const { agent } = lastOpened();
  const reader = new FrameReader();
  const heard: Frame[] = [];
  agent.on('data', (data: Buffer) => heard.push(...reader.read(data)));
  const bytes = Buffer.from([0, 1, 255, 10, 13]);
  for (const channel of [channels.stdin, channels.exit, 77, channels.resize]) {
    socket.send(Buffer.concat([Buffer.of(channel), bytes]));
  }
  socket.send(Buffer.alloc(0));
  socket.send(Buffer.of(channels.stdin));
  await eventually('three frames', async () => heard.length === 3);
  assert.deepEqual(
    heard.map(({ channel, payload }) => [channel, [...payload]]),
    [
      [channels.stdin, [...bytes]],
      [channels.resize, [...bytes]],
      [channels.stdin, []],
    ],
  );
  agent.write(encodeFrame({ channel: channels.stderr, payload: bytes }));
  agent.end(encodeFrame({ channel: channels.exit, payload: Buffer.from('{"exit_code":3}') }));
  const [code] = await closed;
  assert.equal(code, 1000);
  assert.deepEqual(
    messages.map(({ channel, payload }) => [channel, Buffer.from(payload).toString('latin1')]),
    [
      [channels.stderr, bytes.toString('latin1')],
      [channels.exit, '{"exit_code":3}'],
    ],
  );
});

test('a client that goes ends the stream; a stream that breaks or talks nonsense ends with a sentence', async () => {
  const { id } = await aRunningRun();
  const gone = await connect((await buy(id)).path);
  await eventually('the stream', async () => lastOpened().run.runId === id);
  const { agent } = lastOpened();
  gone.socket.terminate();
  await eventually('the end of the stream', async () => agent.destroyed);

  const opened = streams.opened.length;
  const broken = refusalOf((await buy(id)).path);
  await eventually('the stream', async () => streams.opened.length > opened);
  lastOpened().agent.end();
  assert.equal((await broken).code, 'unavailable');

  const noise = refusalOf((await buy(id)).path);
  await eventually('the stream', async () => streams.opened.length > opened + 1);
  lastOpened().agent.write(Buffer.alloc(64, 0xff));
  assert.equal((await noise).code, 'unavailable');
  await eventually('the end of the stream', async () => lastOpened().agent.destroyed);
});

test("an agent's refusal reaches the client where it can act on it", async () => {
  const { id } = await aRunningRun();
  const cases = [
    [{ status: 409, code: 'conflict', message: 'No container is up.' }, 'conflict', /No container is up/],
    [{ status: 502, code: 'unavailable', message: '/var/lib/docker/x' }, 'unavailable', /cannot be reached/],
  ] as const;
  for (const [refusal, code, message] of cases) {
    streams.refusal = refusedBy(refusal);
    const told = await refusalOf((await buy(id)).path);
    assert.equal(told.code, code);
    assert.match(told.message, message);
  }
  streams.refusal = undefined;
});

test('a client that does not read makes the program wait, not the server grow', async () => {
  const { id } = await aRunningRun();
  const { socket } = await connect((await buy(id)).path);
  await eventually('the stream', async () => lastOpened().run.runId === id);
  const { agent } = lastOpened();
  socket.pause();
  const frame = encodeFrame({ channel: channels.stdout, payload: Buffer.alloc(64 * 1024) });
  let sentBytes = 0;
  const pump = () => {
    while (!agent.destroyed && agent.write(frame)) sentBytes += frame.length;
  };
  agent.on('drain', pump);
  pump();
  // Whatever the kernel takes; then nothing more for a while.
  let seenBytes = -1;
  while (seenBytes !== sentBytes) {
    seenBytes = sentBytes;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  assert.ok(sentBytes < 24 * 1024 * 1024, `${sentBytes} bytes were taken from the program`);
  socket.resume();
  await eventually('more once it is read', async () => sentBytes > seenBytes + 8 * 1024 * 1024);
  socket.terminate();
});
