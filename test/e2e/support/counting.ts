// A container that counts aloud, and the proof that no line of it was lost or doubled.
import assert from 'node:assert/strict';

/** About 50 lines a second, 0 and on. */
export const countingScript = 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done';

/** How many lines there are, each the successor of the one before; the last may be cut by a kill. */
export function counted(log: string): number {
  const lines = log.split('\n').slice(0, -1);
  const wrong = lines.findIndex((line, index) => line !== String(index));
  const around = lines.slice(Math.max(0, wrong - 2), wrong + 3).join(' ');
  assert.equal(wrong, -1, `line ${wrong} is not ${wrong}: ${around}`);
  return lines.length;
}
