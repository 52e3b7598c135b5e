// Exec in a run's container: a signed request buys a ticket for one WebSocket.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { recordJobEvent } from '../../db/job-events.ts';
import { getJobRun, type JobRunRecord } from '../../db/job-runs.ts';
import { claimNonce } from '../../db/nonces.ts';
import { createTicket } from '../../db/tickets.ts';
import { ExecBody, type ExecRequest, ExecTicket } from '../../protocol/exec.ts';
import { actorOf, type Caller, callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { ApiError, nonceReused, notFound, validationFailed } from '../errors.ts';
import { timestamp } from '../job-view.ts';
import { uuidOf, uuidParams } from '../route-parts.ts';
import { bodyCheck } from '../validate.ts';

const ticketLifeMs = 60_000;
const ticketLength = 43;
/** The request goes to the agent in a header, and headers have at most 64 KiB. */
const maxRequestLength = 32 * 1024;
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
          '2 stderr, 3 resize with JSON {cols, rows}, 4 exit with JSON {exit_code}, 5 error with JSON {code, message}). ' +
          'An empty stdin message closes the standard input; closing the WebSocket ends the program.',
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
  if (encodeURIComponent(JSON.stringify(exec)).length > maxRequestLength) {
    throw validationFailed([
      { path: 'command', expected: 'at most 32 KiB in all; put a long script in a file' },
    ]);
  }
  const secret = deps.newToken(ticketLength);
  const actor = actorOf(caller);
  const expiresAtMs = await deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    const ticket = { accountId: caller.accountId, runId: run.id, request: exec, actor };
    const detail = { command: exec.command, tty: exec.tty };
    await recordJobEvent(sql, { jobId: run.jobId, runId: run.id, kind: 'exec', actor, detail });
    return createTicket(sql, { ...ticket, secret, lifeMs: ticketLifeMs });
  });
  deps.hints.publish({ kind: 'event' });
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
