// A node whose clock is off: whose time it signs by, and what its operator reads.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from './clock.ts';
import { readRefusal, ServerClock, skewSentence } from './server-clock.ts';

const hourMs = 3_600_000;

test('requests are signed by the wall clock until the server says its time, and by that from then on', () => {
  const time = { monotonicMs: 1_000, wallMs: 50 * hourMs };
  const clock: Clock = { nowMs: () => time.monotonicMs, wallMs: () => time.wallMs, after: () => () => {} };
  const serverClock = new ServerClock(clock);
  assert.equal(serverClock.nowMs(), 50 * hourMs);
  assert.equal(serverClock.learn(48 * hourMs), 2 * hourMs);
  assert.equal(serverClock.nowMs(), 48 * hourMs);
  time.monotonicMs += 5_000;
  time.wallMs -= 7 * hourMs;
  assert.equal(serverClock.nowMs(), 48 * hourMs + 5_000);
});

test('only a refusal for the clock carries the server time', async () => {
  const body = (code: string) =>
    JSON.stringify({ error: { code, message: 'No.', details: { server_time_ms: 7 }, request_id: 'r' } });
  assert.deepEqual(await readRefusal(parts(body('clock_skew'))), {
    code: 'clock_skew',
    message: 'No.',
    serverTimeMs: 7,
  });
  assert.equal((await readRefusal(parts(body('key_unknown')))).serverTimeMs, null);
  const proxy = await readRefusal(parts('<html>Bad gateway</html>'));
  assert.deepEqual(proxy, { code: 'unknown', message: '<html>Bad gateway</html>', serverTimeMs: null });
});

async function* parts(text: string): AsyncGenerator<Buffer> {
  const middle = Math.floor(text.length / 2);
  yield Buffer.from(text.slice(0, middle));
  yield Buffer.from(text.slice(middle));
}

test('the operator reads how far the clock is off and in which direction', () => {
  assert.match(skewSentence(2 * hourMs), /120 minutes ahead of the server's/);
  assert.match(skewSentence(-3 * hourMs), /180 minutes behind the server's/);
});
