// One way to call the Docker Engine: version negotiated, every call with a timeout and an abort.
import { Agent } from 'node:http';
import type { Readable } from 'node:stream';
import { inspect } from 'node:util';
import Docker from 'dockerode';
import { RuntimeError } from './runtime.ts';

export interface EngineCall {
  path: string;
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  query?: Record<string, string>;
  body?: object;
  authconfig?: Record<string, string>;
  /** Sent as it is, instead of `body`. */
  content?: Readable;
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** An answer of the engine with an error status. */
export class EngineRefusal extends Error {
  readonly statusCode: number;

  constructor(statusCode: number, message: string) {
    super(message);
    this.name = 'EngineRefusal';
    this.statusCode = statusCode;
  }
}

/** Newest API that this code was written against; an older engine is spoken to in its own. */
const newestApiVersion = '1.51';
const oldestApiVersion = '1.40';
/** Local calls take milliseconds; a loaded engine has been seen to need seconds. */
const defaultTimeoutMs = 15_000;

export class DockerClient {
  readonly #docker: Docker;
  #version: Promise<string> | null = null;

  /** `socketPath` null: DOCKER_HOST, else the usual socket. */
  constructor(socketPath: string | null) {
    const agent = unprinted(new Agent({ keepAlive: true }));
    const isRemote = socketPath === null && /^(tcp|https?|ssh):/.test(process.env.DOCKER_HOST ?? '');
    // A socket that was asked for goes before DOCKER_HOST, which the modem would prefer.
    const place =
      socketPath === null
        ? {}
        : { socketPath: socketPath.replace(/^unix:\/\//, ''), host: undefined, protocol: 'http' as const };
    this.#docker = new Docker({ ...place, ...(isRemote ? {} : { agent }) });
  }

  /** The JSON of the answer; null for one without a body. */
  async json(call: EngineCall): Promise<unknown> {
    const body = await this.#versioned(call, (versioned) => this.#dial(versioned, false));
    return Buffer.isBuffer(body) ? null : body;
  }

  /** The body as a stream; the timeout holds until its first byte of headers. */
  async stream(call: EngineCall): Promise<Readable> {
    const body = await this.#versioned(call, (versioned) => this.#dial(versioned, true));
    // With isStream the modem answers the incoming message itself.
    return body as Readable;
  }

  async #versioned<T>(call: EngineCall, dial: (call: EngineCall) => Promise<T>): Promise<T> {
    this.#version ??= this.#negotiate();
    try {
      const version = await this.#version;
      return await dial({ ...call, path: `/v${version}${call.path}` });
    } catch (error) {
      // An engine that was replaced under us may speak another version: ask again with the next call.
      const isVersionRefused =
        error instanceof EngineRefusal && /client version .* is too/.test(error.message);
      if (isVersionRefused || (error instanceof RuntimeError && error.isRetryable)) this.#version = null;
      throw error;
    }
  }

  async #negotiate(): Promise<string> {
    const answer = await this.#dial({ path: '/version', timeoutMs: 5_000 }, false);
    const offered = (answer as { ApiVersion?: string }).ApiVersion ?? oldestApiVersion;
    if (compareVersions(offered, oldestApiVersion) < 0) {
      throw new RuntimeError(
        'engine_too_old',
        `The Docker Engine speaks API ${offered}; install one of API ${oldestApiVersion} (19.03) or newer.`,
      );
    }
    return compareVersions(offered, newestApiVersion) > 0 ? newestApiVersion : offered;
  }

  #dial(call: EngineCall, isStream: boolean): Promise<unknown> {
    const { path, method = 'GET', query = {}, body = {}, authconfig, content, signal } = call;
    signal?.throwIfAborted();
    const timeout = new AbortController();
    const abortSignal = unprinted(
      signal === undefined ? timeout.signal : AbortSignal.any([timeout.signal, signal]),
    );
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => timeout.abort(), call.timeoutMs ?? defaultTimeoutMs);
      const settle = (error: unknown, result: unknown) => {
        clearTimeout(timer);
        abortSignal.removeEventListener('abort', onAbort);
        if (error === null) return resolve(result);
        if (signal?.aborted) return reject(signal.reason);
        reject(toEngineError(error, `${method} ${path}`));
      };
      const onAbort = () => settle(engineSilent(`${method} ${path}`), null);
      abortSignal.addEventListener('abort', onAbort);
      this.#docker.modem.dial(
        {
          path: `${path}?`,
          method,
          options: { _query: query, _body: body },
          ...(authconfig === undefined ? {} : { authconfig }),
          ...(content === undefined ? {} : { file: content }),
          isStream,
          abortSignal,
          statusCodes: { 200: true, 201: true, 204: true, 304: true },
        },
        settle,
      );
    });
  }
}

/**
 * The modem prints every request for its debug log, also when nobody reads that: an agent with its sockets, or a signal
 * with its listeners, then costs tens of milliseconds a call.
 */
function unprinted<T extends object>(value: T): T {
  return Object.defineProperty(value, inspect.custom, { value: () => '[…]' });
}

/** It takes calls and does not answer: unlike one that is away, it may never do so again. */
function engineSilent(action: string): RuntimeError {
  const message = `The Docker Engine does not answer in time (${action}); look at its log, and restart it if need be.`;
  return new RuntimeError('engine_silent', message, { isRetryable: true });
}

function toEngineError(error: unknown, action: string): Error {
  if (error instanceof RuntimeError) return error;
  const { statusCode, json, message } = error as { statusCode?: number; json?: unknown; message?: string };
  if (statusCode !== undefined) return new EngineRefusal(statusCode, refusalText(json) ?? message ?? '');
  return new RuntimeError(
    'engine_unreachable',
    `The Docker Engine does not answer (${action}: ${message ?? 'no reason given'}); check that it runs.`,
    { isRetryable: true, cause: error },
  );
}

function refusalText(json: unknown): string | null {
  if (json === null || typeof json !== 'object') return null;
  const { message } = json as { message?: unknown };
  return typeof message === 'string' ? message : null;
}

function compareVersions(a: string, b: string): number {
  const [majorA = 0, minorA = 0] = a.split('.').map(Number);
  const [majorB = 0, minorB = 0] = b.split('.').map(Number);
  return majorA - majorB || minorA - minorB;
}
