// The servers that a node may speak to: one at a time, the next one when it fails, all of them before a long wait.

/** How a connection, or the try to make one, ended. */
export type ServerEnding =
  /** Not reached, silent, or it stops. */
  | 'lost'
  /** It was reached and said no. */
  | 'refused'
  /** It wants to be dialled again. */
  | 'again';

const firstRetryMs = 200;
const maxRetryMs = 5_000;
/** A server that refused will hardly change its mind sooner. */
const refusedRetryMs = 30_000;

export class Servers {
  readonly #urls: readonly string[];
  #index: number;
  /** Tries without a welcome since the last one. */
  #failures = 0;
  /** Of them, one after the other until now. */
  #refusals = 0;

  /** `random` gives 0 to 1: nodes begin with different servers, so that these share the load. */
  constructor(urls: readonly string[], random: () => number) {
    if (urls.length === 0) throw new Error('A node needs the address of a server.');
    this.#urls = urls;
    this.#index = urls.length === 1 ? 0 : Math.floor(random() * urls.length) % urls.length;
  }

  /** The one to dial, or that is dialled. */
  get current(): string {
    return this.#urls[this.#index] ?? '';
  }

  /** All of them, the current one first. */
  get all(): readonly string[] {
    return [...this.#urls.slice(this.#index), ...this.#urls.slice(0, this.#index)];
  }

  /** Turns to the server to dial next; answers after how long at the most. */
  turn(ending: ServerEnding, { wasWelcome }: { wasWelcome: boolean }): number {
    const rounds = Math.floor(this.#failures / this.#urls.length);
    this.#failures = wasWelcome ? 0 : this.#failures + 1;
    this.#refusals = ending === 'refused' ? this.#refusals + 1 : 0;
    if (ending === 'again') return firstRetryMs;
    this.#index = (this.#index + 1) % this.#urls.length;
    if (this.#refusals > 0 && this.#refusals % this.#urls.length === 0) return refusedRetryMs;
    const isRoundOver = this.#failures % this.#urls.length === 0;
    if (!isRoundOver) return firstRetryMs;
    return Math.min(maxRetryMs, firstRetryMs * 2 ** Math.min(10, wasWelcome ? 0 : rounds + 1));
  }
}
