// Makes one API call: signs it afresh for every try, retries what is safe to repeat, and reads the answer.
import type { IncomingHttpHeaders } from 'node:http';
import { ApiError, ConnectionError } from './errors.ts';
import type { HttpResponse, HttpTransport } from './http-transport.ts';
import { buildQuery, type QueryValue } from './query.ts';
import { retryDelayMs } from './retry.ts';
import { encodeBody, type SigningKey, signRequest } from './sign.ts';

/** Time, sleep and randomness of a client, replaced in tests. */
export type Edge = {
  nowMs: () => number;
  sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
  /** 0 to 1. */
  random: () => number;
  /** 32 hex digits, new each time. */
  nonce: () => string;
};

export type CallOptions = {
  query?: { readonly [name: string]: QueryValue } | undefined;
  /** Sent as JSON; undefined: no body. */
  body?: unknown;
  headers?: Record<string, string>;
  /** A POST that may be sent again without harm. */
  isRepeatable?: boolean;
  /** For each try. */
  timeoutMs?: number;
  signal?: AbortSignal | undefined;
};

export type Caller = {
  url: URL;
  /** Asked before every try: a token may have been renewed since. */
  key: () => Promise<SigningKey>;
  transport: HttpTransport;
  timeoutMs: number;
  edge: Edge;
};

/** The parsed body of the answer, undefined for an empty one. Throws `ApiError` or `ConnectionError`. */
export async function call(
  caller: Caller,
  request: { method: string; path: string } & CallOptions,
): Promise<unknown> {
  for (let tries = 1; ; tries += 1) {
    const outcome = await tryOnce(caller, request);
    if (outcome.error === undefined) return outcome.value;
    const delayMs = isRepeatable(request)
      ? retryDelayMs({ ...outcome, tries, nowMs: caller.edge.nowMs(), random: caller.edge.random() })
      : undefined;
    if (delayMs === undefined) throw outcome.error;
    await caller.edge.sleep(delayMs, request.signal);
  }
}

type Outcome =
  | { error: undefined; value: unknown }
  | { error: ApiError | ConnectionError; retryAfter: string | undefined };

async function tryOnce(
  caller: Caller,
  request: { method: string; path: string } & CallOptions,
): Promise<Outcome> {
  const { method, signal, timeoutMs = caller.timeoutMs } = request;
  const url = targetOf(caller.url, request);
  const body = request.body === undefined ? undefined : encodeBody(request.body);
  const key = await caller.key();
  const headers = {
    Accept: 'application/json',
    ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
    ...request.headers,
    ...signRequest({
      key,
      method,
      path: url.pathname + url.search,
      body,
      timeMs: caller.edge.nowMs(),
      nonce: caller.edge.nonce(),
    }),
  };
  try {
    return outcomeOf(await caller.transport.send({ method, url, headers, body, timeoutMs, signal }));
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    return { error: new ConnectionError(caller.url.origin, error), retryAfter: undefined };
  }
}

/** Where a request goes when the server's address has a path of its own. */
export function targetOf(base: URL, { path, query }: { path: string } & CallOptions): URL {
  const target = new URL(base.pathname.replace(/\/$/, '') + path, base);
  const built = buildQuery(query ?? {});
  if (built !== '') target.search += `${target.search === '' ? '?' : '&'}${built}`;
  return target;
}

function outcomeOf(response: HttpResponse): Outcome {
  if (response.status < 200 || response.status > 299) {
    return { error: new ApiError(response), retryAfter: headerText(response.headers, 'retry-after') };
  }
  if (response.text === '') return { error: undefined, value: undefined };
  try {
    return { error: undefined, value: JSON.parse(response.text) };
  } catch {
    return { error: new ApiError(response), retryAfter: undefined };
  }
}

function headerText(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return typeof value === 'string' ? value : value?.[0];
}

/** GET, PUT and DELETE mean the same when repeated (RFC 9110 section 9.2.2), a POST only with an idempotency key. */
function isRepeatable({ method, headers = {}, ...options }: { method: string } & CallOptions): boolean {
  if (options.isRepeatable || (method !== 'POST' && method !== 'PATCH')) return true;
  return Object.keys(headers).some((name) => name.toLowerCase() === 'idempotency-key');
}
