// Throttle of failed authentication, by address and by a clock that the test moves.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFailureThrottle } from './failure-throttle.ts';

function aThrottle() {
  const clock = { nowMs: 0 };
  const throttle = createFailureThrottle(() => clock.nowMs);
  const fail = (address: string, times: number) => {
    for (let left = times; left > 0; left -= 1) throttle.fail(address);
  };
  return { clock, throttle, fail };
}

test('the hundredth failure within a minute closes the door to that address alone', () => {
  const { throttle, fail } = aThrottle();
  fail('guesser', 99);
  assert.equal(throttle.waitSeconds('guesser'), 0);
  fail('guesser', 1);
  assert.equal(throttle.waitSeconds('guesser'), 60);
  assert.equal(throttle.waitSeconds('other'), 0);
});

test('the wait shrinks with the clock, is never 0 while it is closed, and opens after the minute', () => {
  const { clock, throttle, fail } = aThrottle();
  fail('guesser', 100);
  clock.nowMs = 30_000;
  assert.equal(throttle.waitSeconds('guesser'), 30);
  clock.nowMs = 59_999;
  assert.equal(throttle.waitSeconds('guesser'), 1);
  clock.nowMs = 60_000;
  assert.equal(throttle.waitSeconds('guesser'), 0);
  fail('guesser', 99);
  assert.equal(throttle.waitSeconds('guesser'), 0);
});

test('failures spread over minutes never add up', () => {
  const { clock, throttle, fail } = aThrottle();
  for (let minute = 0; minute < 5; minute += 1) {
    clock.nowMs = minute * 60_000;
    fail('clumsy', 90);
    assert.equal(throttle.waitSeconds('clumsy'), 0);
  }
});
