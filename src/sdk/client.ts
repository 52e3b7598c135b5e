// The signed client of the Flotilla API: one function for each endpoint, named as on the server.
import { randomBytes, randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import { setTimeout as sleepFor } from 'node:timers/promises';
import type { NodeEpoch } from '../protocol/epoch.ts';
import type { Event, StreamTicket } from '../protocol/event.ts';
import type { ExecTicket } from '../protocol/exec.ts';
import type { CancelJobBody, CreateJobBody, Job } from '../protocol/job.ts';
import type { JobRun, JobRunDetail, JobRunLogs } from '../protocol/job-run.ts';
import type { CancelJobsBody, JobStops } from '../protocol/job-stop.ts';
import type { ListEnvelope } from '../protocol/list.ts';
import type {
  ChangeNodeBody,
  CreatedNode,
  CreateNodeBody,
  DrainNodeBody,
  Node,
  NodeEvent,
  RemoveNodeBody,
} from '../protocol/node.ts';
import type { JobDryRun } from '../protocol/offer.ts';
import type { Receipt } from '../protocol/receipt.ts';
import type { JwkSet, Session, SessionTokens, SignInBody } from '../protocol/sign-in.ts';
import type { JobRunStats, NodeStats } from '../protocol/stats.ts';
import { accountsOf, auditOf, keysOf, rateLimitOf, usersOf } from './access.ts';
import { type Caller, type CallOptions, call, type Edge, targetOf } from './call.ts';
import { changesOf } from './changes.ts';
import { type FollowEventsOptions, followEvents, followPath, webhooksOf } from './events.ts';
import { type Exec, type ExecOptions, openExec } from './exec.ts';
import { type FilesCaller, readFiles, type WriteFilesOptions, writeFiles } from './files.ts';
import { type FollowOptions, followLogs } from './follow-logs.ts';
import { createHttpTransport, type HttpTransport } from './http-transport.ts';
import { gpusOf, ledgerOf, recipesOf } from './market.ts';
import type { ListQuery } from './query.ts';
import { signingKeyOf, type TokenSource } from './sign-in.ts';
import { type WaitOptions, waitForJob } from './wait-for-job.ts';

export type ClientOptions = {
  /** Where the server listens, `http://127.0.0.1:7070`. */
  url: string;
  /** For each try of a call; 30 s when absent. */
  timeoutMs?: number;
  /** PEM of the authority that signed the server's certificate, when it is not a well-known one. */
  ca?: string | Buffer;
  transport?: HttpTransport;
  edge?: Partial<Edge>;
} & Credentials;

/** A key pair, or access tokens of a session. */
export type Credentials = { publicKey: string; secretKey: string } | { token: TokenSource };

export type Client = ReturnType<typeof createClient>;

/** Every call throws `ApiError` when the server refuses and `ConnectionError` when it cannot be reached. */
export function createClient(options: ClientOptions) {
  const { url, timeoutMs = 30_000, ca } = options;
  const caller: FilesCaller = {
    ca,
    url: new URL(url),
    key: keySource(options),
    transport: options.transport ?? createHttpTransport({ ca }),
    timeoutMs,
    edge: { ...defaultEdge, ...options.edge },
  };
  // The server's schemas are the contract; what comes back is taken at its word here and nowhere else.
  const request = async <T>(method: string, path: string, callOptions: CallOptions = {}): Promise<T> =>
    (await call(caller, { method, path, ...callOptions })) as T;
  return {
    request,
    jobs: jobsOf(caller, request),
    runs: runsOf(caller, request),
    nodes: nodesOf(request),
    keys: keysOf(request),
    accounts: accountsOf(request),
    users: usersOf(request),
    audit: auditOf(request),
    rateLimit: rateLimitOf(request),
    sessions: sessionsOf(request),
    /** With the key of this client: tokens for a while, with its rights or fewer. */
    signIn: (body: SignInBody = {}) => request<SessionTokens>('POST', '/v1/sign-in', { body }),
    /** What access tokens are verified with. */
    jwks: () => request<JwkSet>('GET', '/.well-known/jwks'),
    recipes: recipesOf(request),
    gpus: gpusOf(request),
    ledger: ledgerOf(request),
    events: {
      list: (query: ListQuery = {}) => request<ListEnvelope<Event>>('GET', '/v1/events', { query }),
      /** Of the whole account, from now on or after `lastId`. */
      follow: (options: FollowEventsOptions = {}) => followEvents(caller, '/v1/events', options),
      /** Opens one stream, `/v1/events` or another, for a browser's EventSource, which cannot sign. */
      ticket: (path = '/v1/events') =>
        request<StreamTicket>('POST', '/v1/stream-tickets', { body: { path } }),
    },
    webhooks: webhooksOf(request),
    close: () => caller.transport.close(),
  };
}

function keySource(credentials: Credentials): Caller['key'] {
  if ('token' in credentials) return async () => signingKeyOf(await credentials.token());
  const { publicKey, secretKey } = credentials;
  return async () => ({ publicKey, secretKey });
}

/** Times of RFC 3339. */
export type StatsRange = {
  from?: string | undefined;
  to?: string | undefined;
  step_ms?: number | undefined;
};

type Send = <T>(method: string, path: string, options?: CallOptions) => Promise<T>;

const defaultEdge: Edge = {
  nowMs: Date.now,
  sleep: (ms, signal) => sleepFor(ms, undefined, signal === undefined ? {} : { signal }),
  random: Math.random,
  nonce: () => randomBytes(16).toString('hex'),
};

function jobsOf(caller: FilesCaller, send: Send) {
  const changes = (uuid: string, signal?: AbortSignal) => {
    const path = `${itemPath('jobs', uuid)}/events`;
    return changesOf((closing) => {
      const stop = signal === undefined ? closing : AbortSignal.any([signal, closing]);
      return followPath(caller, path, { signal: stop });
    });
  };
  const get = (uuid: string, options: CallOptions = {}) => send<Job>('GET', itemPath('jobs', uuid), options);
  return {
    /** With an idempotency key, its own unless given, so that a lost answer never makes a second job. */
    create: (body: CreateJobBody, options: { idempotencyKey?: string } = {}) => {
      const headers = { 'Idempotency-Key': options.idempotencyKey ?? randomUUID() };
      return send<Job>('POST', '/v1/jobs', { body, headers });
    },
    /** Makes nothing: where it would fit now, what excludes the other nodes, and its price. */
    dryRun: (body: CreateJobBody) =>
      send<JobDryRun>('POST', '/v1/jobs', { body, query: { dry_run: true }, isRepeatable: true }),
    list: (query: ListQuery = {}) => send<ListEnvelope<Job>>('GET', '/v1/jobs', { query }),
    get: (uuid: string) => get(uuid),
    /** Stops the job in whatever state it is; with `wait_ms` the answer comes when its teardown has ended. */
    cancel: (uuid: string, body?: CancelJobBody) => {
      const timeoutMs = caller.timeoutMs + (body?.wait_ms ?? 0);
      return send<Job>('PUT', `${itemPath('jobs', uuid)}/cancel`, { body, timeoutMs });
    },
    /** A job with `renew_within_ms` goes on for that long from now. */
    renew: (uuid: string) => send<Job>('POST', `${itemPath('jobs', uuid)}/renew`, { isRepeatable: true }),
    /** Stops every job that matches; repeat it while `is_complete` is false. */
    cancelAll: (body: CancelJobsBody) =>
      send<JobStops>('POST', '/v1/jobs/cancel', { body, isRepeatable: true }),
    /** What was seen of the end of the job's last run, or of the run `runUuid`. */
    receipt: (uuid: string, { runUuid }: { runUuid?: string } = {}) =>
      send<Receipt>('GET', `${itemPath('jobs', uuid)}/receipt`, { query: { run_uuid: runUuid } }),
    wait: (uuid: string, options: WaitOptions = {}) => {
      const { signal } = options;
      const watch = {
        edge: caller.edge,
        signal,
        get: () => get(uuid, { signal }),
        changes: changes(uuid, signal),
      };
      return waitForJob(watch, options);
    },
    /** Pushed: when the job or its run may look different from what GET said last. */
    changes: (uuid: string, options: { signal?: AbortSignal } = {}) => changes(uuid, options.signal),
    events: (uuid: string, query: ListQuery = {}) =>
      send<ListEnvelope<Event>>('GET', `${itemPath('jobs', uuid)}/events`, { query }),
    /** From the job's first event on, or after `lastId`. */
    followEvents: (uuid: string, options: FollowEventsOptions = {}) =>
      followEvents(caller, `${itemPath('jobs', uuid)}/events`, options),
  };
}

function runsOf(caller: FilesCaller, send: Send) {
  const path = (uuid: string) => itemPath('job-runs', uuid);
  type Slice = { offset?: number; limit?: number };
  const logs = (uuid: string, query: Slice, options: CallOptions = {}) =>
    send<JobRunLogs>('GET', `${path(uuid)}/logs`, { ...options, query });
  return {
    list: (query: ListQuery = {}) => send<ListEnvelope<JobRun>>('GET', '/v1/job-runs', { query }),
    get: (uuid: string) => send<JobRunDetail>('GET', path(uuid)),
    logs: (uuid: string, slice: Slice = {}) => logs(uuid, slice),
    receipt: (uuid: string) => send<Receipt>('GET', `${path(uuid)}/receipt`),
    /** What it used over time: CPU, memory, GPUs, network, disk. */
    stats: (uuid: string, range: StatsRange = {}) =>
      send<JobRunStats>('GET', `${path(uuid)}/stats`, { query: { ...range } }),
    /** Calls `onChunk` with each piece of the log until the run has ended and its last byte was read. */
    followLogs: (
      uuid: string,
      onChunk: (logs: JobRunLogs) => void | Promise<void>,
      options: FollowOptions = {},
    ) => {
      const { signal } = options;
      const follow = (lastId: string) => followPath(caller, `${path(uuid)}/logs`, { lastId, signal });
      return followLogs(follow, onChunk, options);
    },
    exec: (uuid: string, options: ExecOptions) => exec(caller, send, { path: `${path(uuid)}/exec`, options }),
    /** A file or folder of the container as a tar stream. */
    readFiles: (uuid: string, filePath: string, options: { signal?: AbortSignal } = {}) =>
      readFiles(caller, filesPath(path(uuid), filePath), options.signal),
    /** Unpacks a tar (a file's name, or a stream) into an existing folder of the container. */
    writeFiles: (uuid: string, filePath: string, tar: string | Readable, options: WriteFilesOptions = {}) =>
      writeFiles(caller, filesPath(path(uuid), filePath), tar, options),
  };
}

/** A signed request buys a ticket, and the ticket opens the WebSocket. */
async function exec(
  caller: FilesCaller,
  send: Send,
  { path, options }: { path: string; options: ExecOptions },
): Promise<Exec> {
  const { command, tty = false, cols = null, rows = null, signal } = options;
  const ticket = await send<ExecTicket>('POST', path, { body: { command, tty, cols, rows }, signal });
  const url = targetOf(caller.url, ticket);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return openExec(url, { ca: caller.ca, signal });
}

function filesPath(runPath: string, filePath: string): string {
  return `${runPath}/files?path=${encodeURIComponent(filePath)}`;
}

function nodesOf(send: Send) {
  const change = (uuid: string, verb: string, body: object) =>
    send<Node>('PUT', `${itemPath('nodes', uuid)}/${verb}`, { body });
  return {
    create: (body: CreateNodeBody) => send<CreatedNode>('POST', '/v1/nodes', { body }),
    list: (query: ListQuery = {}) => send<ListEnvelope<Node>>('GET', '/v1/nodes', { query }),
    get: (uuid: string) => send<Node>('GET', itemPath('nodes', uuid)),
    /** Of the last hour unless the range says otherwise. */
    stats: (uuid: string, range: StatsRange = {}) =>
      send<NodeStats>('GET', `${itemPath('nodes', uuid)}/stats`, { query: { ...range } }),
    cordon: (uuid: string, body: ChangeNodeBody = {}) => change(uuid, 'cordon', body),
    uncordon: (uuid: string, body: ChangeNodeBody = {}) => change(uuid, 'uncordon', body),
    /** No new work from now on; runs that are left at the deadline (default 1 h) are stopped. */
    drain: (uuid: string, body: DrainNodeBody = {}) => change(uuid, 'drain', body),
    /** After a restore of the database: the node may remove what that does not know, and takes work again. */
    acceptRestore: (uuid: string, body: ChangeNodeBody = {}) => change(uuid, 'accept-restore', body),
    /** 409 while it holds runs, or is lost without `force`. */
    remove: (uuid: string, body: RemoveNodeBody = {}) => change(uuid, 'remove', body),
    epochs: (uuid: string, query: ListQuery = {}) =>
      send<ListEnvelope<NodeEpoch>>('GET', `${itemPath('nodes', uuid)}/epochs`, { query }),
    events: (uuid: string, query: ListQuery = {}) =>
      send<ListEnvelope<NodeEvent>>('GET', `${itemPath('nodes', uuid)}/events`, { query }),
  };
}

function sessionsOf(send: Send) {
  return {
    list: (query: ListQuery = {}) => send<ListEnvelope<Session>>('GET', '/v1/sessions', { query }),
    /** At once, with every token of it. */
    revoke: (uuid: string) => send<Session>('DELETE', itemPath('sessions', uuid)),
  };
}

function itemPath(resource: string, uuid: string): string {
  if (!/^[\w-]+$/.test(uuid))
    throw new Error(`Cannot look up "${uuid}": give the uuid of one of the ${resource}.`);
  return `/v1/${resource}/${uuid}`;
}
