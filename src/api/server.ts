// The HTTP server of the public API: body, signature, routes, errors and the OpenAPI document around them.

import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import fastifySwagger from '@fastify/swagger';
import fastify, {
  type FastifyError,
  type FastifyHttpOptions,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import type { Logger } from 'pino';
import { type Authenticator, claimReadNonce, createAuthenticator } from './auth.ts';
import { acceptTokens } from './bearer.ts';
import { noBody, type RawBody, rawBodyOf, readBody, spooledBody } from './body.ts';
import type { ApiDeps } from './deps.ts';
import { ApiError, maxBodyBytes, toApiError, toErrorBody } from './errors.ts';
import { EventFeed } from './event-feed.ts';
import { defaultMaxStreams, EventStreams } from './event-streams.ts';
import { createFailureThrottle } from './failure-throttle.ts';
import { withJobReaders } from './job-views.ts';
import { createKeyCache, type KeyCache } from './key-cache.ts';
import { LogFeed } from './log-feed.ts';
import { createRateLimit, isRateLimited } from './rate-limit.ts';
import { createReadNonces } from './read-nonces.ts';
import { accountRoutes } from './routes/accounts.ts';
import { apiKeyRoutes } from './routes/api-keys.ts';
import { auditRoutes } from './routes/audit.ts';
import { documentRoutes, openApiDocument, withErrorResponse } from './routes/documents.ts';
import { eventRoutes } from './routes/events.ts';
import { execRoutes } from './routes/exec.ts';
import { fileRoutes } from './routes/files.ts';
import { gpuRegistryRoutes } from './routes/gpu-registry.ts';
import { healthRoutes } from './routes/health.ts';
import { jobRunRoutes } from './routes/job-runs.ts';
import { jobStopRoutes } from './routes/job-stops.ts';
import { jobRoutes } from './routes/jobs.ts';
import { jwksRoutes } from './routes/jwks.ts';
import { ledgerRoutes } from './routes/ledger.ts';
import { nodeRoutes } from './routes/nodes.ts';
import { offerRoutes } from './routes/offers.ts';
import { rateLimitRoutes } from './routes/rate-limit.ts';
import { receiptRoutes } from './routes/receipts.ts';
import { recipeRoutes } from './routes/recipes.ts';
import { sessionListRoutes } from './routes/sessions.ts';
import { sessionRoutes, signInRoutes } from './routes/sign-in.ts';
import { oidcRoutes } from './routes/sign-in-oidc.ts';
import { statsRoutes } from './routes/stats.ts';
import { userRoutes } from './routes/users.ts';
import { webhookRoutes } from './routes/webhooks.ts';
import { createSessionCache, type SessionCache } from './session-cache.ts';
import { spool } from './spool.ts';
import { callerOfTicket, hasTicket } from './stream-ticket.ts';
import { createTokenKeys } from './token-keys.ts';
import { createTokens } from './tokens.ts';

export interface ApiServerOptions {
  log: Logger;
  tls: { cert: string | Buffer; key: string | Buffer } | null;
  /** Addresses of proxies whose X-Forwarded-For is believed. */
  trustedProxies: readonly string[];
}

/** Load balancers keep idle connections for 60 s; ours live longer, so that it is never us who cut first. */
const keepAliveMs = 72_000;
/** For a whole request: an upload of the largest size at 2 MB/s. Headers alone have Node's 60 s. */
const requestMs = 600_000;

export interface ApiServer {
  app: FastifyInstance;
  /** For the hub: WebSocket upgrades are signed like requests. */
  authenticator: Authenticator;
}

export async function createApiServer(deps: ApiDeps, options: ApiServerOptions): Promise<ApiServer> {
  const app = newFastify(deps, options);
  const keys = createKeyCache({ sql: deps.database, vault: deps.vault, hints: deps.hints, now: deps.now });
  const throttle = createFailureThrottle(deps.now);
  const tokenKeys = createTokenKeys(deps);
  const sessions = createSessionCache({ sql: deps.database, hints: deps.hints, now: deps.now });
  const tokens = createTokens({
    ...{ ...deps, keys, tokenKeys, issuer: `urn:flotilla:${deps.clusterId}` },
    sessions,
  });
  const streamDeps = {
    ...deps,
    eventStreams: new EventStreams({ ...deps, maxPerAccount: deps.maxStreams ?? defaultMaxStreams }),
    logFeed: new LogFeed(deps),
    eventFeed: new EventFeed({
      ...deps,
      onError: (error) => options.log.warn({ err: error }, 'Events were not read; trying again.'),
    }),
  };
  const signInDeps = { ...deps, tokens };
  const byKey = createAuthenticator({ keys, throttle, now: deps.now });
  const authenticator = acceptTokens(byKey, { ...deps, tokens, throttle });
  deps.traffic.watch(app);
  acceptBodies(app, authenticator);
  // Bodies are checked by the routes, which name every wrong field; responses are checked in the tests.
  app.setValidatorCompiler(() => () => true);
  app.setSerializerCompiler(() => JSON.stringify);
  app.setErrorHandler(sendError);
  app.setNotFoundHandler((request, reply) => {
    sendError(
      new ApiError('not_found', `There is no ${request.method} ${request.url.slice(0, 100)}; see /docs.`),
      request,
      reply,
    );
  });
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id);
    done();
  });
  app.addHook('onResponse', (request, reply, done) => {
    logResponse(request, reply);
    done();
  });
  await app.register(fastifySwagger, {
    openapi: openApiDocument(deps.version),
    transform: ({ schema, url }) => ({ schema: withErrorResponse(schema), url }),
  });
  await app.register(async (signed) => {
    signRoutes(signed, authenticator, { ...deps, keys, sessions });
    const jobDeps = withJobReaders(deps);
    jobRoutes(signed, jobDeps);
    recipeRoutes(signed, jobDeps);
    jobStopRoutes(signed, deps);
    jobRunRoutes(signed, streamDeps);
    eventRoutes(signed, streamDeps);
    webhookRoutes(signed, deps);
    receiptRoutes(signed, deps);
    execRoutes(signed, deps);
    fileRoutes(signed, deps);
    nodeRoutes(signed, deps);
    statsRoutes(signed, deps);
    accountRoutes(signed, deps);
    userRoutes(signed, deps);
    apiKeyRoutes(signed, deps);
    auditRoutes(signed, deps);
    rateLimitRoutes(signed, deps);
    gpuRegistryRoutes(signed, deps);
    offerRoutes(signed, deps);
    ledgerRoutes(signed, deps);
    signInRoutes(signed, signInDeps);
    sessionListRoutes(signed, deps);
  });
  jwksRoutes(app, { tokenKeys });
  sessionRoutes(app, { ...signInDeps, throttle, authenticator });
  oidcRoutes(app, {
    ...signInDeps,
    throttle,
    begins: createFailureThrottle(deps.now),
    oidc: await oidcDeps(deps),
  });
  documentRoutes(app);
  healthRoutes(app, deps);
  return { app, authenticator };
}

/** The provider's library is loaded where there is a provider: it would be a part of every server's memory. */
async function oidcDeps({ oidc, publicUrl, now }: ApiDeps) {
  if (oidc === null) return null;
  const { createOidcProvider } = await import('./oidc.ts');
  return { provider: createOidcProvider(oidc, { now }), mappings: oidc.mappings, publicUrl };
}

function newFastify(deps: ApiDeps, { log, tls, trustedProxies }: ApiServerOptions): FastifyInstance {
  const settings: FastifyHttpOptions<Server> = {
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    // Every line names its request itself; a logger of its own for each request costs more than its signature's hash.
    childLoggerFactory: (logger) => logger,
    bodyLimit: maxBodyBytes,
    genReqId: () => deps.newId(),
    keepAliveTimeout: keepAliveMs,
    requestTimeout: requestMs,
    trustProxy: trustedProxies.length > 0 ? [...trustedProxies] : false,
    routerOptions: { maxParamLength: 256 },
    frameworkErrors: (error, request, reply) => sendError(error, request, reply),
    clientErrorHandler: answerUnreadable,
  };
  if (tls === null) return fastify(settings) as unknown as FastifyInstance;
  // The typings tie the instance to the kind of server; the routes do not care which it is.
  return fastify({ ...settings, https: tls } as never) as unknown as FastifyInstance;
}

/** Every route registered on `signed` needs a signature; plain reads spend their nonce here. */
function signRoutes(
  signed: FastifyInstance,
  authenticator: Authenticator,
  deps: ApiDeps & { keys: KeyCache; sessions: SessionCache },
): void {
  const readNonces = createReadNonces(deps.now);
  const rateLimit = createRateLimit({ sql: deps.database, now: deps.now });
  signed.addHook('preHandler', async (request) => {
    const raw = (request.body as RawBody | undefined) ?? noBody;
    Object.assign(request, { rawBody: raw, body: undefined });
    if (hasTicket(request)) {
      Object.assign(request, { caller: await callerOfTicket(request, deps) });
      return;
    }
    const caller = await authenticator.authenticate({
      method: request.method,
      url: request.raw.url ?? request.url,
      headers: request.headers,
      address: request.ip,
      body: raw.bytes,
      parsedBody: raw.value,
      ...(raw.spooled === null ? {} : { bodySha256: raw.spooled.sha256 }),
    });
    if (isRateLimited(request.method, request.routeOptions.url)) await rateLimit.take(caller.key);
    if (request.method === 'GET' || request.method === 'HEAD') claimReadNonce(caller, readNonces);
    if (raw.problem !== null) throw raw.problem;
    Object.assign(request, { caller, body: raw.value });
  });
}

/** Any content type is read as bytes first: whether it may be so is said after the signature. Tar goes to disk. */
function acceptBodies(app: FastifyInstance, authenticator: Authenticator): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (request, body, done) => {
    done(null, readBody(body as Buffer, request.headers['content-type']));
  });
  app.addContentTypeParser(
    'application/x-tar',
    async (request: FastifyRequest, payload: NodeJS.ReadableStream) => {
      await authenticator.checkKnown(request.headers);
      return spoolUpload(request, payload);
    },
  );
  app.addHook('onResponse', async (request) => rawBodyOf(request).spooled?.remove());
}

/** The file goes with the response; where the client goes first there is no response, and it goes with the connection. */
async function spoolUpload(request: FastifyRequest, payload: NodeJS.ReadableStream): Promise<RawBody> {
  const length = request.headers['content-length'];
  const declaredBytes = length === undefined ? null : Number(length);
  const spooled = await spool(payload as Readable, { declaredBytes });
  const { socket } = request.raw;
  const remove = () => {
    socket.off('close', remove);
    return spooled.remove();
  };
  socket.once('close', remove);
  if (socket.destroyed) await remove();
  return spooledBody({ ...spooled, remove });
}

function sendError(error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply): void {
  const refusal = toApiError(error);
  if (refusal.status >= 500) request.log.error({ err: error, request_id: request.id }, refusal.message);
  if (refusal.retryAfterSeconds !== undefined) reply.header('retry-after', refusal.retryAfterSeconds);
  reply.header('x-request-id', request.id);
  void reply
    .code(refusal.status)
    .type('application/json; charset=utf-8')
    .send(toErrorBody(refusal, request.id));
}

function logResponse(request: FastifyRequest, reply: FastifyReply): void {
  request.log.debug(
    {
      request_id: request.id,
      method: request.method,
      path: request.url.split('?', 1)[0],
      status: reply.statusCode,
      took_ms: Math.round(reply.elapsedTime * 10) / 10,
    },
    'request',
  );
}

/** What is not HTTP gets the envelope too, before the connection closes. */
function answerUnreadable(error: { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) return;
  const isTooLarge = error.code === 'HPE_HEADER_OVERFLOW';
  const message = isTooLarge ? 'The request headers are too large.' : 'This is not a readable HTTP request.';
  const body = JSON.stringify(
    toErrorBody(new ApiError('validation_failed', message), '00000000-0000-0000-0000-000000000000'),
  );
  socket.end(
    `HTTP/1.1 ${isTooLarge ? '431 Request Header Fields Too Large' : '400 Bad Request'}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
