// Seeded randomness: every choice of the simulation comes from here, so that a seed tells the whole story.

/** sfc32 by Chris Doty-Humphrey: small, fast, and the same everywhere. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number, stream: number) {
    this.#a = seed >>> 0;
    this.#b = Math.floor(seed / 2 ** 32) >>> 0;
    this.#c = stream >>> 0;
    for (let round = 0; round < 15; round += 1) this.#draw();
  }

  #draw(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  /** 0 to 1, without 1. */
  next(): number {
    return this.#draw() / 2 ** 32;
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** Both ends included. */
  integer(from: number, to: number): number {
    return from + Math.floor(this.next() * (to - from + 1));
  }

  between(from: number, to: number): number {
    return from + this.next() * (to - from);
  }

  /** Mostly short, now and then long: the waiting time for something that happens every `meanMs`. */
  waitMs(meanMs: number): number {
    return -Math.log(1 - this.next()) * meanMs;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.integer(0, items.length - 1)];
    if (item === undefined) throw new Error('Nothing to pick from.');
    return item;
  }

  /** An entry by its weight. */
  weighted<T>(entries: readonly { weight: number; value: T }[]): T {
    let left = this.next() * entries.reduce((sum, { weight }) => sum + weight, 0);
    for (const { weight, value } of entries) {
      left -= weight;
      if (left < 0) return value;
    }
    return this.pick(entries).value;
  }

  hex(digits: number): string {
    let text = '';
    while (text.length < digits) text += this.#draw().toString(16).padStart(8, '0');
    return text.slice(0, digits);
  }

  /** A UUID of version 7 as of `epochMs`. */
  uuid(epochMs: number): string {
    const time = Math.floor(epochMs).toString(16).padStart(12, '0');
    const variant = (8 + this.integer(0, 3)).toString(16);
    return `${time.slice(0, 8)}-${time.slice(8)}-7${this.hex(3)}-${variant}${this.hex(3)}-${this.hex(12)}`;
  }
}
