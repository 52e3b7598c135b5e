// Exec in a run's container: a signed request buys a ticket, the ticket opens one WebSocket.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type WebSocket, WebSocketServer } from 'ws';
import { recordJobEvent } from '../../db/job-events.ts';
import { getJobRun, type JobRunRecord } from '../../db/job-runs.ts';
import { claimNonce } from '../../db/nonces.ts';
import { createTicket, takeTicket } from '../../db/tickets.ts';
import { channels, ExecBody, type ExecRequest, ExecTicket } from '../../protocol/exec.ts';
import { encodeFrame, FrameReader } from '../../protocol/frames.ts';
import { type Caller, callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { ApiError, nonceReused, notFound } from '../errors.ts';
import { timestamp } from '../job-view.ts';
import { uuidOf, uuidParams } from '../route-parts.ts';
import { bodyCheck } from '../validate.ts';

const ticketLifeMs = 60_000;
const ticketLength = 43;
/** A client that reads slowly slows the program, not our memory. */
const maxBufferedBytes = 1024 * 1024;
const bodyOf = bodyCheck(ExecBody);

export function execRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.post(
    '/v1/job-runs/:uuid/exec',
    {
      schema: {
        tags: ['Job runs'],
        summary: 'Run a command in the container: answers a ticket for one WebSocket',
        description:
          'Open `path` as a WebSocket. Binary messages both ways: the first byte is the channel (0 stdin, 1 stdout, ' +
          '2 stderr, 3 resize with JSON {cols, rows}, 4 exit with JSON {exit_code}, 5 error with JSON {code, message}).',
        params: uuidParams,
        body: ExecBody,
        response: { 201: ExecTicket },
      },
    },
    async (request, reply) => reply.code(201).send(await sellTicket(request, deps)),
  );
}

async function sellTicket(request: FastifyRequest, deps: ApiDeps): Promise<ExecTicket> {
  const caller = callerOf(request);
  requirePermission(caller, 'jobs:exec');
  const run = await requireRunning(uuidOf(request, 'job run'), caller, deps);
  const body = bodyOf.parse(request.body);
  const exec: ExecRequest = {
    command: body.command,
    tty: body.tty ?? false,
    cols: body.cols ?? null,
    rows: body.rows ?? null,
  };
  const secret = deps.newToken(ticketLength);
  const actor = { kind: 'key', key_uuid: caller.key.id, address: caller.address };
  const expiresAtMs = await deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    const ticket = { accountId: caller.accountId, runId: run.id, request: exec, actor };
    const detail = { command: exec.command, tty: exec.tty };
    await recordJobEvent(sql, { jobId: run.jobId, runId: run.id, kind: 'exec', actor, detail });
    return createTicket(sql, { ...ticket, secret, lifeMs: ticketLifeMs });
  });
  const path = `/v1/job-runs/${run.id}/exec?ticket=${secret}`;
  return {
    object: 'exec_ticket',
    job_run_uuid: run.id,
    ticket: secret,
    path,
    expires_at: timestamp(expiresAtMs),
  };
}

/** The caller's run, if its container runs. */
export async function requireRunning(id: string, caller: Caller, deps: ApiDeps): Promise<JobRunRecord> {
  const run = await getJobRun(deps.database, deps.vault, { id, accountId: caller.accountId });
  if (run === null) throw notFound('job run');
  if (run.status !== 'RUNNING') {
    throw new ApiError('conflict', `The job run is ${run.status}; its container is not running.`);
  }
  return run;
}

const execPath = /^\/v1\/job-runs\/([0-9a-fA-F-]{36})\/exec\?ticket=([A-Za-z0-9]{1,64})$/;

/** Takes the WebSocket upgrade of an exec; answers false when the request is for something else. */
export function createExecUpgrade(deps: ApiDeps) {
  const sockets = new WebSocketServer({ noServer: true, maxPayload: maxBufferedBytes });
  return (request: IncomingMessage, socket: Duplex, head: Buffer): boolean => {
    const [, runId, ticket] = execPath.exec(request.url ?? '') ?? [];
    if (runId === undefined || ticket === undefined) return false;
    sockets.handleUpgrade(request, socket, head, (client) => {
      // The frames say what went wrong; a socket error is followed by its close.
      client.on('error', () => {});
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
  const early: Uint8Array[] = [];
  const keep = (data: Buffer) => early.push(data);
  client.on('message', keep);
  const ticket = await takeTicket<ExecRequest>(deps.database, asked.ticket);
  if (ticket === null || ticket.runId !== asked.runId) {
    throw new ApiError('permission_denied', 'This ticket is unknown, used or expired; ask for a new one.');
  }
  const { accountId, runId, request } = ticket;
  const run = await getJobRun(deps.database, deps.vault, { id: runId, accountId });
  if (run?.status !== 'RUNNING') throw new ApiError('conflict', 'The container is not running any more.');
  const stream = await deps.streams.open({ nodeId: run.nodeId, runId }, { kind: 'exec', request });
  client.off('message', keep);
  join(client, stream);
  for (const data of early) client.emit('message', data);
}

/** Messages of the socket are frames of the stream, both ways, each slowing the other down. */
function join(client: WebSocket, stream: Duplex): void {
  const reader = new FrameReader();
  client.on('message', (data: Buffer) => {
    const frame = encodeFrame({ channel: data[0] ?? 0, payload: data.subarray(1) });
    if (!stream.write(frame)) {
      client.pause();
      stream.once('drain', () => client.resume());
    }
  });
  client.on('close', () => stream.destroy());
  stream.on('data', (data: Buffer) => {
    for (const { channel, payload } of reader.read(data))
      client.send(Buffer.concat([Buffer.of(channel), payload]));
    if (client.bufferedAmount < maxBufferedBytes) return;
    stream.pause();
    resumeWhenRead(client, stream);
  });
  stream.on('end', () => client.close(1000));
  stream.on('error', (error) => fail(client, error));
}

const drainCheckMs = 20;

function resumeWhenRead(client: WebSocket, stream: Duplex): void {
  if (client.readyState !== client.OPEN) return;
  if (client.bufferedAmount < maxBufferedBytes / 2) stream.resume();
  else setTimeout(() => resumeWhenRead(client, stream), drainCheckMs);
}

function fail(client: WebSocket, error: unknown): void {
  const { code, message } = error as { code?: unknown; message?: unknown };
  const isKnown = error instanceof ApiError || (error as Error).name === 'StreamRefused';
  const told = isKnown
    ? { code, message }
    : { code: 'unavailable', message: 'The node cannot be reached right now.' };
  if (client.readyState === client.OPEN) {
    client.send(Buffer.concat([Buffer.of(channels.error), Buffer.from(JSON.stringify(told))]));
  }
  client.close(1011);
}
