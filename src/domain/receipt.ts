// The receipt of a run's teardown: stamps of the reports that told of its end, and the proof that nothing of it is left.

/** What an agent tells of a teardown as it goes. `stuck`: it is past its deadline, and goes on. */
export const teardownSteps = ['delivered', 'signalled', 'killed', 'stuck'] as const;
export type TeardownStep = (typeof teardownSteps)[number];
/** In the order of the stop ladder. */
const markWords = [...teardownSteps, 'exited'] as const;
export type MarkWord = (typeof markWords)[number];

export interface Mark {
  /** When the report of it arrived, by the server's clock. */
  atMs: number;
  /** By the agent's monotonic clock, since it began with this teardown; null when it did not say. */
  afterMs: number | null;
  /** Why, where the step needs a reason. */
  text: string | null;
}

/** `none`: there never was one. `not_seen`: it could not be looked at, and `why` says why. */
export interface Remains {
  state: 'gone' | 'none' | 'not_seen';
  why: string | null;
}

export interface GpuRemains {
  uuid: string;
  state: 'clean' | 'dirty' | 'not_seen';
  why: string | null;
  baselineMib: number | null;
  usedMib: number | null;
}

/** What the agent saw after the end, all of it looked at anew when everything was gone. */
export interface RunProof {
  /** One life of the agent saw the whole end: a step it does not name did not happen. */
  isWhole: boolean;
  /** Every byte that the container wrote reached the server; null: the agent cannot say. */
  isLogComplete: boolean | null;
  container: Remains;
  processes: Remains;
  networks: Remains;
  volumes: Remains;
  gpus: readonly GpuRemains[];
  /** By the agent's monotonic clock, since the first of them. */
  steps: readonly { step: string; afterMs: number }[];
}

export interface Receipt {
  /** The first report of each step stands. */
  marks: Readonly<Partial<Record<MarkWord, Mark>>>;
  proof: RunProof | null;
  provedAtMs: number | null;
  /** The run was given up with its node: what became of it there is not known. */
  fenced: { atMs: number; reason: string } | null;
}

export const emptyReceipt: Receipt = { marks: {}, proof: null, provedAtMs: null, fenced: null };

/** The same receipt when the step is known already. */
export function withMark(receipt: Receipt, step: MarkWord, mark: Mark): Receipt {
  if (receipt.marks[step] !== undefined) return receipt;
  const marks = { ...receipt.marks, [step]: mark };
  // In the order of the ladder, so that equal receipts look equal.
  const ordered = markWords.flatMap((word) => (marks[word] === undefined ? [] : [[word, marks[word]]]));
  return { ...receipt, marks: Object.fromEntries(ordered) };
}

/** Nothing of the run is left, and each part of that was looked at. A cut log is no remains: it has a line of its own. */
export function isProved(proof: RunProof | null): boolean {
  if (proof === null) return false;
  const { container, processes, networks, volumes, gpus } = proof;
  const isSeen = [container, processes, networks, volumes].every(({ state }) => state !== 'not_seen');
  return isSeen && gpus.every(({ state }) => state === 'clean');
}
