// Routes of events: of an account and of one job, as lists and as server-sent events; and tickets for browsers.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { jobCreatedAt, listEvents } from '../../db/events.ts';
import type { Hints } from '../../db/hints.ts';
import { claimNonce } from '../../db/nonces.ts';
import { type EventPosition, parsePosition } from '../../domain/event-position.ts';
import { EventList, StreamTicket, StreamTicketBody } from '../../protocol/event.ts';
import { eventView } from '../../protocol/event-view.ts';
import { callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { nonceReused, notFound, validationFailed } from '../errors.ts';
import type { EventFeed } from '../event-feed.ts';
import { followEvents } from '../event-follow.ts';
import type { EventStream } from '../event-stream.ts';
import type { EventStreams } from '../event-streams.ts';
import { timestamp } from '../job-view.ts';
import { type FilterRules, parseListQuery } from '../list-query.ts';
import { listOf, listQuerySchema, refuseQuery, uuidOf, uuidParams } from '../route-parts.ts';
import { keepStream, lastEventId, listQueryOf, wantsStream } from '../stream-parts.ts';
import { sellStreamTicket } from '../stream-ticket.ts';
import { bodyCheck } from '../validate.ts';

type EventDeps = ApiDeps & { eventStreams: EventStreams; eventFeed: EventFeed };

const jobFilters: FilterRules = {
  run_uuid: { kind: 'uuids', column: 'e.run_id' },
  created_at: { kind: 'times', column: 'e.created_at' },
};
const accountFilters: FilterRules = { ...jobFilters, job_uuid: { kind: 'uuids', column: 'e.job_id' } };
const ticketBodyOf = bodyCheck(StreamTicketBody);
const ticketLength = 43;
/** Many changes in a row are one message. */
const changedGapMs = 100;
const tags = ['Events'];
const description =
  'With `Accept: text/event-stream` the answer is a stream: each message is an event, its id is for `Last-Event-ID`, ' +
  'which resumes without loss. `event: ready` comes when the stream has caught up, `event: end` says why it ends; on a job ' +
  '`event: changed` says that GET of it would show something new.';

export function eventRoutes(app: FastifyInstance, deps: EventDeps): void {
  app.get(
    '/v1/events',
    {
      config: { takesTicket: true },
      schema: {
        tags,
        summary: 'List or follow the events of the account; a stream begins now',
        description,
        querystring: listQuerySchema(accountFilters),
        response: { 200: EventList },
      },
    },
    (request, reply) => accountEvents(request, reply, deps),
  );
  app.get(
    '/v1/jobs/:uuid/events',
    {
      config: { takesTicket: true },
      schema: {
        tags,
        summary: 'List or follow the events of a job; a stream begins with its first',
        description,
        params: uuidParams,
        querystring: listQuerySchema(jobFilters),
        response: { 200: EventList },
      },
    },
    (request, reply) => jobEvents(request, reply, deps),
  );
  app.post(
    '/v1/stream-tickets',
    {
      schema: {
        tags,
        summary: 'Buy a ticket that opens one stream within a minute, for a browser’s EventSource',
        body: StreamTicketBody,
        response: { 201: StreamTicket },
      },
    },
    async (request, reply) => reply.code(201).send(await sellTicket(request, deps)),
  );
}

async function accountEvents(
  request: FastifyRequest,
  reply: FastifyReply,
  deps: EventDeps,
): Promise<unknown> {
  const caller = callerOf(request);
  requirePermission(caller, 'jobs:read');
  const query = parseListQuery(listQueryOf(request), accountFilters);
  if (!wantsStream(request)) {
    const result = await listEvents(deps.database, { ...query, accountId: caller.accountId });
    return listOf(query, result, result.items.map(eventView));
  }
  refuseFilters(request);
  return stream(request, reply, { deps, jobId: null, from: resumeFrom(request) });
}

async function jobEvents(request: FastifyRequest, reply: FastifyReply, deps: EventDeps): Promise<unknown> {
  const caller = callerOf(request);
  requirePermission(caller, 'jobs:read');
  const jobId = uuidOf(request, 'job');
  const createdAtMs = await jobCreatedAt(deps.database, { jobId, accountId: caller.accountId });
  if (createdAtMs === null) throw notFound('job');
  const query = parseListQuery(listQueryOf(request), jobFilters);
  if (!wantsStream(request)) {
    const result = await listEvents(deps.database, { ...query, jobId });
    return listOf(query, result, result.items.map(eventView));
  }
  refuseFilters(request);
  const first: EventPosition = { since: '1:1:', atMs: createdAtMs, within: null };
  return stream(request, reply, { deps, jobId, from: resumeFrom(request) ?? first });
}

async function stream(
  request: FastifyRequest,
  reply: FastifyReply,
  { deps, jobId, from }: { deps: EventDeps; jobId: string | null; from: EventPosition | null },
): Promise<FastifyReply> {
  const caller = callerOf(request);
  const { accountId } = caller;
  const opened = deps.eventStreams.open(reply, caller);
  if (jobId !== null) tellChanges(opened, { hints: deps.hints, jobId });
  await keepStream(opened, request, () =>
    followEvents({ database: deps.database, feed: deps.eventFeed }, opened, { accountId, jobId, from }),
  );
  return reply;
}

/** What is no event, the progress of a pull for example, is only said to have changed. */
function tellChanges(opened: EventStream, { hints, jobId }: { hints: Hints; jobId: string }): void {
  let timer: NodeJS.Timeout | undefined;
  const tell = () => {
    timer = undefined;
    if (!opened.isFull) opened.send({ event: 'changed', json: '{}' });
  };
  const unsubscribe = hints.subscribe((hint) => {
    if (hint.kind === 'job' && hint.jobId === jobId) timer ??= setTimeout(tell, changedGapMs);
  });
  opened.closed.addEventListener('abort', () => {
    clearTimeout(timer);
    unsubscribe();
  });
}

/** A stream has everything in order: what is not wanted is for its reader to pass over. */
function refuseFilters(request: FastifyRequest): void {
  const [name] = new URLSearchParams(listQueryOf(request)).keys();
  if (name === undefined) return;
  throw validationFailed([
    { path: name.slice(0, 80), expected: 'no list parameter on a stream', received: 'a parameter' },
  ]);
}

function resumeFrom(request: FastifyRequest): EventPosition | null {
  const id = lastEventId(request);
  if (id === null) return null;
  const position = parsePosition(id);
  if (position !== null) return position;
  throw validationFailed([
    { path: 'Last-Event-ID', expected: 'an id that this server sent', received: id.slice(0, 40) },
  ]);
}

async function sellTicket(request: FastifyRequest, deps: EventDeps): Promise<StreamTicket> {
  const caller = callerOf(request);
  requirePermission(caller, 'jobs:read');
  refuseQuery(request);
  const { path } = ticketBodyOf.parse(request.body);
  const secret = deps.newToken(ticketLength);
  const expiresAtMs = await deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    return sellStreamTicket(sql, caller, { path, secret });
  });
  return {
    object: 'stream_ticket',
    ticket: secret,
    path: `${path}?ticket=${secret}`,
    expires_at: timestamp(expiresAtMs),
  };
}
