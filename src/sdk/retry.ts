// Decides whether a failed call is tried again, and after how long.
import { ApiError, ConnectionError } from './errors.ts';

export type FailedTry = {
  error: unknown;
  /** Tries made so far, 1 after the first. */
  tries: number;
  /** The `Retry-After` header of the answer, if there was one. */
  retryAfter: string | undefined;
  nowMs: number;
  /** 0 to 1; spreads clients that failed together. */
  random: number;
};

const maxTries = 4;
const firstDelayMs = 200;
/** A server that asks for a longer pause than this gets no retry: the caller should hear of it. */
const maxDelayMs = 30_000;

/** Milliseconds until the next try; undefined: give up. */
export function retryDelayMs(failed: FailedTry): number | undefined {
  if (failed.tries >= maxTries || !isTransient(failed.error)) return undefined;
  const backoffMs = firstDelayMs * 2 ** (failed.tries - 1);
  const jitteredMs = backoffMs * (0.5 + failed.random / 2);
  const askedMs = retryAfterMs(failed.retryAfter, failed.nowMs);
  return askedMs > maxDelayMs ? undefined : Math.max(jitteredMs, askedMs);
}

/** True for failures that the same call may not meet again: no connection, too many requests, not available. */
export function isTransient(error: unknown): boolean {
  if (error instanceof ConnectionError) return error.isTransient;
  return error instanceof ApiError && (error.status === 429 || error.status === 503);
}

/** Seconds or an HTTP date (RFC 9110 section 10.2.3); 0 when absent or unreadable. */
function retryAfterMs(header: string | undefined, nowMs: number): number {
  if (header === undefined) return 0;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - nowMs;
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}
