// Chance from a seed: the same choices in the same order for the same seed and name.

export interface Random {
  /** 0 to below 1. */
  next(): number;
  /** A whole number, both ends included. */
  integer(from: number, to: number): number;
  chance(probability: number): boolean;
  pick<T>(items: readonly T[]): T;
  /** By weight; the weights need no sum of 1. */
  weighted<T>(items: readonly { weight: number; value: T }[]): T;
  shuffle<T>(items: readonly T[]): T[];
  /** Independent choices for another part, so that what one draws does not move what the other gets. */
  fork(name: string): Random;
}

export function createRandom(seed: string): Random {
  const next = mulberry32(hashOf(seed));
  const integer = (from: number, to: number) => from + Math.floor(next() * (to - from + 1));
  const random: Random = {
    next,
    integer,
    chance: (probability) => next() < probability,
    pick(items) {
      const item = items[integer(0, items.length - 1)];
      if (item === undefined) throw new Error('Nothing to pick from.');
      return item;
    },
    weighted(items) {
      let left = next() * items.reduce((sum, { weight }) => sum + weight, 0);
      for (const { weight, value } of items) {
        left -= weight;
        if (left < 0) return value;
      }
      return random.pick(items).value;
    },
    shuffle(items) {
      const drawn = items.map((value) => ({ value, order: next() }));
      return drawn.sort((a, b) => a.order - b.order).map(({ value }) => value);
    },
    fork: (name) => createRandom(`${seed}/${name}`),
  };
  return random;
}

/** FNV-1a, 32 bits. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** A small generator with a full period of 2^32 (Tommy Ettinger, public domain). */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
