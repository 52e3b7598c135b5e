// One replica of the control plane: API, scheduler and hub on one listener, started together and stopped in order.
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { type BlockList, isIP } from 'node:net';
import type { Logger } from 'pino';
import { createCapacityReader } from '../api/capacity.ts';
import type { ApiDeps } from '../api/deps.ts';
import { ApiError, nonceReused } from '../api/errors.ts';
import { createExecUpgrade } from '../api/exec-upgrade.ts';
import { addressList } from '../api/job-request.ts';
import { createLiveJobs } from '../api/live-jobs.ts';
import { shipOfficialRecipes } from '../api/official-recipes.ts';
import type { OidcSettings } from '../api/oidc.ts';
import type { RunStreams } from '../api/run-streams.ts';
import { type ApiServer, createApiServer } from '../api/server.ts';
import { Traffic } from '../api/traffic.ts';
import { openPortRange } from '../db/gateway-ports.ts';
import { createHints } from '../db/hints.ts';
import { createJobSubmitter } from '../db/job-submit.ts';
import { claimNonce } from '../db/nonces.ts';
import { defaultRetention, enforceRetention } from '../db/retention.ts';
import { pause } from '../domain/timers.ts';
import { Gateway } from '../gateway/gateway.ts';
import { Hub } from '../hub/hub.ts';
import type { AgentIdentity } from '../hub/session.ts';
import { ClockWatch } from '../scheduler/clock-watch.ts';
import { Scheduler } from '../scheduler/loop.ts';
import { Passes } from '../scheduler/passes.ts';
import { QueuePositions } from '../scheduler/queue-positions.ts';
import { WebhookLoop } from '../webhooks/loop.ts';
import { createTargetRules } from '../webhooks/target.ts';
import { clientAddress } from './client-address.ts';
import {
  advertisedUrl,
  defaultGatewaySettings,
  type GatewaySettings,
  gatewayDoor,
  gatewayHasTls,
  gatewayHostname,
} from './gateway-settings.ts';
import { newId, newToken } from './ids.ts';
import type { Storage } from './storage.ts';
import { systemTimers } from './system-timers.ts';

export interface ControlPlaneOptions {
  storage: Storage;
  host: string;
  port: number;
  tls: { certFile: string; keyFile: string } | null;
  isInsecureHttpAllowed: boolean;
  trustedProxies: readonly string[];
  log: Logger;
  version: string;
  /** Absent or null: the default. */
  lostAfterMs?: number | null;
  /** At a stop: how long to go on serving, not ready, before the listener closes. */
  drainDelayMs?: number;
  trustTenants?: boolean;
  /** Absent or null: nobody signs in by OpenID Connect. */
  oidc?: OidcSettings | null;
  /** Where browsers reach the servers; absent or null: where this one listens. */
  publicUrl?: string | null;
  /** Absent: the defaults. */
  gateway?: GatewaySettings;
  /** Absent: the default. */
  maxStreams?: number;
  /** Where webhooks may point beside public addresses: hosts, hosts with a port, addresses, CIDR ranges. */
  allowedWebhooks?: readonly string[];
  /** Another way into containers than data connections. */
  streams?: RunStreams;
}

export interface ControlPlane {
  /** Where clients on this machine reach it. */
  url: string;
  /** What node_urls name. */
  gatewayHostname: string;
  stop(): Promise<void>;
}

const defaultMaxLiveJobs = 1_000_000;
const ticketLength = 43;
const retentionMs = 60_000;
/** At a stop requests under way get this long to end; supervisors kill after 30 s and more. */
const requestPatienceMs = 20_000;
/** Then their connections get this long. */
const closePatienceMs = 3_000;

export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  refusePlainHttp(options);
  const { storage, log, gateway: settings = defaultGatewaySettings } = options;
  const { database, vault, cluster } = storage;
  await shipOfficialRecipes(database, vault);
  const replicaId = newId();
  const monotonicNow = () => performance.now();
  const timers = systemTimers;
  const hints = createHints(database, {
    replicaId,
    onError: (error) => log.warn({ err: error }, 'A hint to the other replicas was lost.'),
  });
  const scheduler = new Scheduler({
    database,
    vault,
    hints,
    log,
    replicaId,
    newId,
    newToken,
    monotonicNow,
    timers,
    clockWatch: new ClockWatch({ database, monotonicNow, log }),
    ...(options.lostAfterMs == null ? {} : { lostAfterMs: options.lostAfterMs }),
    ...(options.trustTenants === undefined ? {} : { trustTenants: options.trustTenants }),
  });
  const passes = new Passes({ sql: database, hints, timers });
  const positions = new QueuePositions({
    hints,
    timers,
    isLeader: () => scheduler.isLeader,
    positionOf: (jobId) => scheduler.queuePosition(jobId),
  });
  const rules = createTargetRules(options.allowedWebhooks ?? []);
  const webhooks = new WebhookLoop({
    ...{ database, vault, hints, log, replicaId, rules, now: Date.now, random: Math.random },
  });
  const traffic = new Traffic();
  const deps: ApiDeps = {
    version: options.version,
    database,
    vault,
    clusterId: cluster.id,
    hints,
    newId,
    newToken,
    submitter: createJobSubmitter(database, vault),
    scheduling: {
      awaitPass: (accountId) => passes.awaitPass(accountId),
      queuePosition: (jobId) => positions.get(jobId),
    },
    capacity: createCapacityReader(database, Date.now),
    trustTenants: options.trustTenants ?? false,
    gateway: {
      hostname: gatewayHostname(settings, options),
      hasTls: gatewayHasTls(settings, options),
    },
    traffic,
    streams: options.streams ?? {
      open: ({ nodeId, runId: runUuid }, { kind, request }) =>
        gateway.openStream(nodeId, { kind, runUuid, port: 0, request }),
    },
    oidc: options.oidc ?? null,
    publicUrl: () => options.publicUrl ?? url,
    now: Date.now,
    maxLiveJobs: defaultMaxLiveJobs,
    liveJobs: createLiveJobs(defaultMaxLiveJobs),
    webhookUrlProblem: rules.problemOf,
    ...(options.maxStreams === undefined ? {} : { maxStreams: options.maxStreams }),
  };
  const api = await createApiServer(deps, {
    log,
    tls: readTls(options.tls),
    trustedProxies: options.trustedProxies,
  });
  const trusted = addressList(options.trustedProxies);
  const hub = new Hub({
    database,
    vault,
    hints,
    cluster,
    log,
    monotonicNow,
    timers,
    authenticate: async (request) => {
      if (traffic.stopping.aborted) throw new ApiError('unavailable', 'This server stops; dial another one.');
      return authenticateAgent(request, { api, storage, trusted });
    },
  });
  const gateway: Gateway = new Gateway({
    ...gatewayDoor(settings, options),
    database,
    hints,
    log,
    advertisedUrl: () => advertisedUrl(settings, options, url),
    authenticate: (request) => authenticateAgent(request, { api, storage, trusted }),
    newTicket: () => newToken(ticketLength),
    tellPorts: (byNode) => hub.tellPorts(byNode),
  });
  const takeExec = createExecUpgrade(deps);
  hub.attach(api.app.server, [
    (request, socket, head) => gateway.takeUpgrade(request, socket, head),
    takeExec,
  ]);
  const retention = setInterval(() => {
    enforceRetention(database, defaultRetention).catch((error) =>
      log.warn({ err: error }, 'Keeping house failed; trying again in a minute.'),
    );
  }, retentionMs);
  const stop = async () => {
    clearInterval(retention);
    traffic.stop();
    // First what another replica takes over, the lead and the agents, while balancers see that we are not ready.
    await Promise.all([
      scheduler.stop(),
      webhooks.stop(),
      hub.close(),
      pause(timers, options.drainDelayMs ?? 0),
    ]);
    await closeApi(api, async () => {
      const left = await traffic.quiet(requestPatienceMs);
      if (left > 0) log.warn({ requests: left }, 'Requests were under way for too long and are cut off.');
      await gateway.close();
    });
    await hints.close();
  };
  let url = '';
  try {
    await openPortRange(database, settings.ports);
    url = await listen(api, options);
    await gateway.start();
  } catch (error) {
    // Else its timers would keep a process alive that serves nobody.
    await stop();
    throw error;
  }
  scheduler.start();
  webhooks.start();
  log.info({ url, replica: replicaId }, 'The server listens.');
  return { url, gatewayHostname: deps.gateway.hostname, stop };
}

/** Plain HTTP beyond this machine shows every job and log on the wire: only when told so. */
function refusePlainHttp({ host, tls, isInsecureHttpAllowed }: ControlPlaneOptions): void {
  const isLoopback = host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
  if (isLoopback || tls !== null || isInsecureHttpAllowed) return;
  throw new Error(
    `Listening on ${host} without TLS: give --tls-cert and --tls-key, or --insecure-http if something in front does TLS.`,
  );
}

function readTls(tls: ControlPlaneOptions['tls']): { cert: Buffer; key: Buffer } | null {
  return tls === null ? null : { cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile) };
}

async function listen(api: ApiServer, { host, port, tls }: ControlPlaneOptions): Promise<string> {
  try {
    await api.app.listen({ host, port });
  } catch (cause) {
    const isInUse = (cause as { code?: string }).code === 'EADDRINUSE';
    if (isInUse)
      throw new Error(
        `Port ${port} on ${host} is in use; stop what listens there or choose another with --port.`,
        { cause },
      );
    throw new Error(`Cannot listen on ${host}:${port}: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
  const address = api.app.server.address();
  const bound = typeof address === 'object' && address !== null ? address.port : port;
  const isAnyAddress = host === '0.0.0.0' || host === '::';
  const name = isAnyAddress ? '127.0.0.1' : isIP(host) === 6 ? `[${host}]` : host;
  return `${tls === null ? 'http' : 'https'}://${name}:${bound}`;
}

/** No new connection from now on; `endTraffic` ends what is under way. */
async function closeApi({ app }: ApiServer, endTraffic: () => Promise<void>): Promise<void> {
  const closed = app.close();
  await endTraffic();
  app.server.closeIdleConnections();
  const timer = setTimeout(() => app.server.closeAllConnections(), closePatienceMs);
  await closed;
  clearTimeout(timer);
}

/** The upgrade is signed with a node's key, and its nonce is taken in the database. */
async function authenticateAgent(
  request: IncomingMessage,
  { api, storage, trusted }: { api: ApiServer; storage: Storage; trusted: BlockList },
): Promise<AgentIdentity> {
  const caller = await api.authenticator.authenticate({
    method: request.method ?? 'GET',
    url: request.url ?? '',
    headers: request.headers,
    address: clientAddress(request, trusted),
    body: Buffer.alloc(0),
    parsedBody: undefined,
  });
  const { nodeId } = caller.key;
  if (nodeId === null)
    throw new ApiError(
      'permission_denied',
      'Agents connect with the key of a node; make one with "flotilla node register".',
    );
  if (!(await claimNonce(storage.database, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
  return { nodeId, accountId: caller.accountId, publicKey: caller.key.publicKey };
}
