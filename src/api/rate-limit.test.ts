// The bucket: whatever the times of requests, no more pass than the rate and one burst; who waits as told is served.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Sql } from '../db/database.ts';
import { ApiError } from './errors.ts';
import { createRateLimit, isRateLimited } from './rate-limit.ts';

/** Answers the one setting that is read. */
const settings = (perSecond: number): Sql => ({
  query: async <Row>() => [{ value: { perSecond } }] as Row[],
});

function aLimit(perSecond: number) {
  const clock = { nowMs: 1_000_000 };
  const limit = createRateLimit({ sql: settings(perSecond), now: () => clock.nowMs });
  const send = async (id = 'a', rateLimitPerSecond: number | null = null): Promise<number> => {
    try {
      await limit.take({ id, rateLimitPerSecond });
      return 0;
    } catch (error) {
      assert.ok(error instanceof ApiError && error.code === 'rate_limited');
      return error.retryAfterSeconds ?? Number.NaN;
    }
  };
  return { clock, send };
}

const rates = fc.double({ min: 0.05, max: 50, noNaN: true });
const pauses = fc.array(fc.integer({ min: 0, max: 3_000 }), { maxLength: 200 });

test('no more pass than one burst and the rate', async () => {
  await fc.assert(
    fc.asyncProperty(rates, pauses, async (rate, gapsMs) => {
      const { clock, send } = aLimit(rate);
      let passed = 0;
      for (const gapMs of gapsMs) {
        clock.nowMs += gapMs;
        if ((await send()) === 0) passed += 1;
      }
      const seconds = gapsMs.reduce((sum, gapMs) => sum + gapMs, 0) / 1000;
      assert.ok(passed <= Math.max(1, rate * 2) + rate * seconds + 1e-6);
    }),
  );
});

test('who waits as long as told is served', async () => {
  await fc.assert(
    fc.asyncProperty(rates, fc.integer({ min: 1, max: 150 }), async (rate, count) => {
      const { clock, send } = aLimit(rate);
      for (let sent = 0; sent < count; sent += 1) {
        const waitSeconds = await send();
        if (waitSeconds === 0) continue;
        assert.ok(Number.isInteger(waitSeconds) && waitSeconds >= 1);
        clock.nowMs += waitSeconds * 1000;
        assert.equal(await send(), 0);
      }
    }),
  );
});

test('keys do not spend each other’s rate, and a rate of its own goes before the cluster’s', async () => {
  const { send } = aLimit(1);
  for (let sent = 0; sent < 2; sent += 1) assert.equal(await send('a'), 0);
  assert.ok((await send('a')) > 0);
  for (let sent = 0; sent < 20; sent += 1) assert.equal(await send('b', 100), 0);
});

test('a clock that is set back gives nothing away and locks nobody out', async () => {
  const { clock, send } = aLimit(1);
  for (let sent = 0; sent < 2; sent += 1) await send();
  clock.nowMs -= 3_600_000;
  assert.ok((await send()) > 0);
  clock.nowMs += 1_000;
  assert.equal(await send(), 0);
});

test('Stop is exempt, and nothing else of the jobs', () => {
  assert.ok(!isRateLimited('PUT', '/v1/jobs/:uuid/cancel') && !isRateLimited('POST', '/v1/jobs/cancel'));
  assert.ok(isRateLimited('POST', '/v1/jobs') && isRateLimited('GET', '/v1/jobs/:uuid'));
});
