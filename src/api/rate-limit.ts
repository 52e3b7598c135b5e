// How many requests a second a key may send to this replica: a bucket of tokens for each key, in memory.
import type { SigningKey } from '../db/api-keys.ts';
import type { Sql } from '../db/database.ts';
import { getRateLimit } from '../db/rate-limit.ts';
import { ApiError } from './errors.ts';

export interface RateLimit {
  /** Throws 429 with the time to wait when the key has sent more than its rate. */
  take(key: Pick<SigningKey, 'id' | 'rateLimitPerSecond'>): Promise<void>;
}

/** A stop is never refused for rate: as Fastify names the routes. */
const exempt = new Set(['PUT /v1/jobs/:uuid/cancel', 'POST /v1/jobs/cancel']);

/** What a change of the cluster's rate takes to reach every replica. */
const freshMs = 5_000;
/** After a rest a key may send so many seconds' worth at once. */
const burstSeconds = 2;
/** A bound against a flood of different keys; full buckets are as good as none. */
const maxBuckets = 100_000;

interface Bucket {
  tokens: number;
  atMs: number;
}

export function isRateLimited(method: string, route: string | undefined): boolean {
  return !exempt.has(`${method} ${route}`);
}

export function createRateLimit({ sql, now }: { sql: Sql; now: () => number }): RateLimit {
  const buckets = new Map<string, Bucket>();
  let perSecond = Number.POSITIVE_INFINITY;
  let reading: Promise<void> | undefined;
  let readAtMs = Number.NEGATIVE_INFINITY;
  const refresh = () => {
    reading ??= getRateLimit(sql)
      .then((limit) => {
        perSecond = limit;
      })
      // A replica without a database refuses by that, and not by rate.
      .catch(() => {})
      .finally(() => {
        reading = undefined;
        readAtMs = now();
      });
    return reading;
  };
  return {
    async take(key) {
      if (readAtMs === Number.NEGATIVE_INFINITY) await refresh();
      else if (now() - readAtMs >= freshMs) void refresh();
      if (buckets.size >= maxBuckets) buckets.clear();
      const rate = key.rateLimitPerSecond ?? perSecond;
      const waitMs = takeToken(buckets, key.id, { rate, nowMs: now() });
      if (waitMs === 0) return;
      const retryAfterSeconds = Math.ceil(waitMs / 1000);
      throw new ApiError(
        'rate_limited',
        `This API key may send ${rate} requests a second; wait ${retryAfterSeconds} s.`,
        { retryAfterSeconds, details: { rate_limit_per_second: rate } },
      );
    },
  };
}

/** Milliseconds until there is a token, 0 when one was taken. */
function takeToken(
  buckets: Map<string, Bucket>,
  keyId: string,
  { rate, nowMs }: { rate: number; nowMs: number },
): number {
  const most = Math.max(1, rate * burstSeconds);
  const last = buckets.get(keyId) ?? { tokens: most, atMs: nowMs };
  // A clock that was set back fills nothing.
  const filled = last.tokens + (Math.max(0, nowMs - last.atMs) / 1000) * rate;
  const tokens = Math.min(most, filled);
  const isTaken = tokens >= 1;
  buckets.set(keyId, { tokens: isTaken ? tokens - 1 : tokens, atMs: nowMs });
  return isTaken ? 0 : ((1 - tokens) / rate) * 1000;
}
