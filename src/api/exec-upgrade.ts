// The WebSocket of an exec: its ticket is taken once, then its messages are frames of a stream to the agent.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { getJobRun } from '../db/job-runs.ts';
import { takeTicket } from '../db/tickets.ts';
import { channels, type ExecRequest } from '../protocol/exec.ts';
import { encodeFrame, FrameReader } from '../protocol/frames.ts';
import type { ApiDeps } from './deps.ts';
import { ApiError } from './errors.ts';
import { streamFailure } from './run-streams.ts';

/** A client that reads slowly slows the program, not our memory; one message is at most this long too. */
const maxBufferedBytes = 1024 * 1024;
const drainCheckMs = 20;
/** A client that does not answer our goodbye does not hold up a stop of the server. */
const closeMs = 2_000;
/** Finds clients that went away without a word, and keeps the line open in NATs. */
const pingMs = 20_000;
const execPath = /^\/v1\/job-runs\/([0-9a-fA-F-]{36})\/exec\?ticket=([A-Za-z0-9]{1,64})$/;
const fromClient: ReadonlySet<number> = new Set([channels.stdin, channels.resize]);

/** Takes the WebSocket upgrade of an exec; answers false when the request is for something else. */
export function createExecUpgrade(deps: ApiDeps) {
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: maxBufferedBytes,
    // The typings do not know it yet.
    ...{ closeTimeout: closeMs },
  });
  return (request: IncomingMessage, socket: Duplex, head: Buffer): boolean => {
    const [, runId, ticket] = execPath.exec(request.url ?? '') ?? [];
    if (runId === undefined || ticket === undefined) return false;
    sockets.handleUpgrade(request, socket, head, (client) => {
      // The frames say what went wrong; a socket error is followed by its close.
      client.on('error', () => {});
      // What comes before the program is there stays in the socket.
      client.pause();
      serve(client, { runId: runId.toLowerCase(), ticket }, deps).catch((error) => fail(client, error));
    });
    return true;
  };
}

async function serve(
  client: WebSocket,
  asked: { runId: string; ticket: string },
  deps: ApiDeps,
): Promise<void> {
  const ticket = await takeTicket<ExecRequest>(deps.database, asked.ticket);
  if (ticket === null || ticket.runId !== asked.runId) {
    throw new ApiError('permission_denied', 'This ticket is unknown, used or expired; ask for a new one.');
  }
  const { accountId, runId, request } = ticket;
  const run = await getJobRun(deps.database, deps.vault, { id: runId, accountId });
  if (run?.status !== 'RUNNING') throw new ApiError('conflict', 'The container is not running any more.');
  const stream = await deps.streams.open({ nodeId: run.nodeId, runId }, { kind: 'exec', request });
  join(client, stream);
}

/** Each way slows the other end down when it is not read; each end's close is the other's. */
function join(client: WebSocket, stream: Duplex): void {
  const stopPings = ping(client);
  client.on('message', (data: Buffer) => toProgram(client, stream, data));
  client.on('close', () => {
    stopPings();
    stream.destroy();
  });
  let hasLastFrame = false;
  const reader = new FrameReader();
  stream.on('data', (data: Buffer) => {
    try {
      for (const { channel, payload } of reader.read(data)) {
        hasLastFrame ||= channel === channels.exit || channel === channels.error;
        client.send(Buffer.concat([Buffer.of(channel), payload]));
      }
    } catch (error) {
      stream.destroy();
      fail(client, error);
      return;
    }
    if (client.bufferedAmount < maxBufferedBytes) return;
    stream.pause();
    resumeWhenRead(client, stream);
  });
  const finish = () => {
    if (hasLastFrame) client.close(1000);
    else fail(client, new Error('The stream to the agent ended before the program did.'));
  };
  stream.once('end', finish);
  stream.once('close', finish);
  stream.on('error', (error) => fail(client, error));
  client.resume();
}

function toProgram(client: WebSocket, stream: Duplex, data: Buffer): void {
  const channel = data[0] ?? -1;
  if (!fromClient.has(channel) || !stream.writable) return;
  stream.write(encodeFrame({ channel, payload: data.subarray(1) }));
  // Messages that were read already still come while the client is paused.
  if (!stream.writableNeedDrain || client.isPaused) return;
  client.pause();
  stream.once('drain', () => client.resume());
}

function resumeWhenRead(client: WebSocket, stream: Duplex): void {
  if (client.readyState !== client.OPEN) return;
  if (client.bufferedAmount < maxBufferedBytes / 2) stream.resume();
  else setTimeout(() => resumeWhenRead(client, stream), drainCheckMs);
}

/** Returns the way to stop. A client whose words wait for the program cannot answer, and is not asked. */
function ping(client: WebSocket): () => void {
  let isAlive = true;
  client.on('pong', () => {
    isAlive = true;
  });
  const timer = setInterval(() => {
    if (client.isPaused) return;
    if (!isAlive) client.terminate();
    isAlive = false;
    client.ping();
  }, pingMs);
  return () => clearInterval(timer);
}

function fail(client: WebSocket, error: unknown): void {
  if (client.readyState !== client.OPEN) return;
  const { code, message } = streamFailure(error);
  client.send(Buffer.concat([Buffer.of(channels.error), Buffer.from(JSON.stringify({ code, message }))]));
  client.close(1011);
  // The closing handshake needs an ear.
  client.resume();
}
