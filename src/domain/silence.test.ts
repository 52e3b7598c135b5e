// Loss of nodes: by watched silence alone, whatever the database's clock, the watcher's pauses and the fleet do.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isUnbroken, lookAtSilence, type SilenceWatch, startWatch } from './silence.ts';

const lostAfterMs = 300_000;
const lookMs = 1_000;

/** Looks every second; the database's clock runs as ours does, `databaseAheadMs` before it. */
class Watcher {
  nowMs = 50_000;
  databaseAheadMs = 1_700_000_000_000;
  readonly lost: string[] = [];
  readonly lostAtMs = new Map<string, number>();
  #watch: SilenceWatch;

  constructor() {
    this.#watch = startWatch(this.clock());
  }

  clock() {
    const { nowMs } = this;
    return { beforeMs: nowMs, afterMs: nowMs, wallMs: nowMs + this.databaseAheadMs };
  }

  isUnbroken(): boolean {
    return isUnbroken(this.#watch, this.clock());
  }

  begin(): void {
    this.#watch = startWatch(this.clock());
  }

  look(silent: readonly string[], options: { readyCount?: number; silentMs?: number } = {}): void {
    const { readyCount = 100, silentMs = 15_000 } = options;
    const nodes = silent.map((id) => ({ id, silentMs }));
    const { watch, lost } = lookAtSilence(
      this.#watch,
      { clock: this.clock(), silent: nodes, readyCount },
      { lostAfterMs },
    );
    this.#watch = watch;
    for (const id of lost) this.lostAtMs.set(id, this.nowMs);
    this.lost.push(...lost);
  }

  /** Looks for so long, each second or so; what is lost is silent no more. */
  watch(spanMs: number, silent: readonly string[], readyCount = 100, everyMs = lookMs): void {
    for (const endMs = this.nowMs + spanMs; this.nowMs < endMs; ) {
      this.nowMs += everyMs;
      this.look(
        silent.filter((id) => !this.lostAtMs.has(id)),
        { readyCount },
      );
    }
  }
}

test('a node is lost after the whole silence, its lease counted in', () => {
  const watcher = new Watcher();
  watcher.watch(60_000, []);
  watcher.watch(284_000, ['a']);
  assert.deepEqual(watcher.lost, []);
  watcher.watch(2_000, ['a']);
  assert.deepEqual(watcher.lost, ['a']);
});

test('a node that is heard in between begins anew', () => {
  const watcher = new Watcher();
  watcher.watch(280_000, ['a']);
  watcher.watch(2_000, []);
  watcher.watch(280_000, ['a']);
  assert.deepEqual(watcher.lost, []);
});

test('what a new leader finds silent gets the whole time again', () => {
  const watcher = new Watcher();
  watcher.look(['a'], { silentMs: 10 ** 9 });
  watcher.watch(299_000, ['a']);
  assert.deepEqual(watcher.lost, []);
  watcher.watch(2_000, ['a']);
  assert.deepEqual(watcher.lost, ['a']);
});

for (const [what, jumpMs] of [
  ['forward', 3_600_000],
  ['back', -3_600_000],
] as const) {
  test(`a jump of the database's clock ${what} breaks the watch, and loses nobody by itself`, () => {
    const watcher = new Watcher();
    watcher.watch(60_000, []);
    watcher.databaseAheadMs += jumpMs;
    watcher.nowMs += lookMs;
    assert.equal(watcher.isUnbroken(), false);
    // Even where nobody notices: by its time the silence is an hour longer, by ours it is not.
    watcher.look(['a'], { silentMs: jumpMs });
    watcher.watch(270_000, ['a']);
    assert.deepEqual(watcher.lost, []);
  });
}

test('a watcher that was paused does not judge by the time that passed', () => {
  const watcher = new Watcher();
  watcher.watch(100_000, ['a']);
  watcher.nowMs += 600_000;
  assert.equal(watcher.isUnbroken(), false);
  watcher.begin();
  watcher.watch(280_000, ['a']);
  assert.deepEqual(watcher.lost, []);
});

test('looks on time, and a clock that drifts, do not break the watch', () => {
  const watcher = new Watcher();
  for (let count = 0; count < 100; count += 1) {
    watcher.nowMs += 5_000;
    watcher.databaseAheadMs += 100;
    assert.equal(watcher.isUnbroken(), true);
    watcher.look([]);
  }
});

const names = (count: number) => Array.from({ length: count }, (_, index) => `node-${index}`);

test('more than 30 % of the fleet within a minute are not lost, but after twelve times the time they are', () => {
  const watcher = new Watcher();
  watcher.watch(60_000, []);
  const silent = names(4);
  for (const count of [1, 2, 3]) watcher.watch(15_000, silent.slice(0, count), 10 - count);
  watcher.watch(11 * lostAfterMs, silent, 6);
  assert.deepEqual(watcher.lost, []);
  watcher.watch(2 * lostAfterMs, silent, 6);
  assert.deepEqual(watcher.lost.toSorted(), silent);
});

test('30 % are no sign of it, nor are more that fall silent over a longer time', () => {
  const few = new Watcher();
  few.watch(lostAfterMs, names(3), 7);
  assert.equal(few.lost.length, 3);
  const slow = new Watcher();
  for (let count = 1; count <= 4; count += 1) slow.watch(40_000, names(count), 10 - count);
  slow.watch(lostAfterMs, names(4), 6);
  assert.equal(slow.lost.length, 4);
});

test('one node is lost however small the fleet; two at once of two or three are not', () => {
  for (const readyCount of [0, 1, 2]) {
    const one = new Watcher();
    one.watch(lostAfterMs, ['a'], readyCount);
    assert.deepEqual(one.lost, ['a'], `beside ${readyCount}`);
  }
  for (const readyCount of [0, 1]) {
    const two = new Watcher();
    two.watch(2 * lostAfterMs, ['a', 'b'], readyCount);
    assert.deepEqual(two.lost, [], `beside ${readyCount}`);
  }
});

test('while too many are silent nobody is lost; when they come back the rest gets the whole time again', () => {
  const watcher = new Watcher();
  watcher.watch(200_000, ['dead'], 9);
  watcher.watch(200_000, ['dead', ...names(4)], 5);
  assert.deepEqual(watcher.lost, []);
  watcher.watch(280_000, ['dead'], 9);
  assert.deepEqual(watcher.lost, []);
  watcher.watch(21_000, ['dead'], 9);
  assert.deepEqual(watcher.lost, ['dead']);
});

test('no node is lost before it was silent at every look for the whole time, over random fleets and clocks', () => {
  const anyMove = fc.record({
    spanMs: fc.integer({ min: 1_000, max: 500_000 }),
    silent: fc.uniqueArray(fc.nat(5)),
    jumpMs: fc.constantFrom(0, 0, 0, 0, 90_000_000, -90_000_000),
    pauseMs: fc.constantFrom(0, 0, 0, 60_000, 900_000),
  });
  let lostCount = 0;
  fc.assert(
    fc.property(fc.array(anyMove, { maxLength: 25 }), (moves) => {
      const watcher = new Watcher();
      const silentSince = new Map<string, number>();
      for (const { spanMs, silent, jumpMs, pauseMs } of moves) {
        const ids = silent.map(String).filter((id) => !watcher.lostAtMs.has(id));
        watcher.nowMs += pauseMs;
        watcher.databaseAheadMs += jumpMs;
        if (!watcher.isUnbroken()) {
          watcher.begin();
          silentSince.clear();
        }
        for (const id of silentSince.keys()) if (!ids.includes(id)) silentSince.delete(id);
        for (const id of ids) if (!silentSince.has(id)) silentSince.set(id, watcher.nowMs);
        watcher.watch(spanMs, ids, 20, 5_000);
        for (const id of ids) {
          const lostAtMs = watcher.lostAtMs.get(id);
          if (lostAtMs === undefined) continue;
          lostCount += 1;
          assert.ok(lostAtMs - (silentSince.get(id) ?? 0) >= lostAfterMs - 25_000, id);
        }
      }
    }),
    { numRuns: 200 },
  );
  assert.ok(lostCount > 20, `${lostCount} losses were looked at`);
});
