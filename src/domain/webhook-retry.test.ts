// Pauses grow to an hour and end after a day.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { giveUpAfterMs, retryPauseMs } from './webhook-retry.ts';

test('every delivery ends within a day and two hours, after a few dozen attempts', () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1 }), (randoms) => {
      let sinceFirstMs = 0;
      for (let attempts = 1; ; attempts += 1) {
        const random = randoms[attempts % randoms.length] ?? 0;
        const pauseMs = retryPauseMs(attempts, { sinceFirstMs, random });
        if (pauseMs === null) {
          assert.ok(attempts >= 20 && attempts < 50, `${attempts} attempts`);
          assert.ok(sinceFirstMs < giveUpAfterMs + 2 * 3_600_000);
          return;
        }
        assert.ok(pauseMs >= 5_000 && pauseMs <= 3_600_000 * 1.2);
        sinceFirstMs += pauseMs;
      }
    }),
  );
});
