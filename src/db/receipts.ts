// Receipts of runs as the database keeps them: snake_case JSON without what is not known yet.
import {
  emptyReceipt,
  type GpuRemains,
  type Mark,
  type MarkWord,
  type Receipt,
  type Remains,
  type RunProof,
} from '../domain/receipt.ts';

interface StoredMark {
  at_ms: number;
  after_ms?: number;
  text?: string;
}

interface StoredProof {
  is_whole: boolean;
  is_log_complete: boolean | null;
  container: Remains;
  processes: Remains;
  networks: Remains;
  volumes: Remains;
  gpus: (Omit<GpuRemains, 'baselineMib' | 'usedMib'> & {
    baseline_mib: number | null;
    used_mib: number | null;
  })[];
  steps: { step: string; after_ms: number }[];
}

/** A run's `receipt` column. */
export interface StoredReceipt {
  marks?: Partial<Record<MarkWord, StoredMark>>;
  proof?: StoredProof;
  proved_at_ms?: number;
  fenced?: { at_ms: number; reason: string };
}

export function toReceipt(stored: StoredReceipt | null): Receipt {
  if (stored === null) return emptyReceipt;
  const { marks = {}, proof, proved_at_ms: provedAtMs = null, fenced } = stored;
  return {
    marks: mapMarks(
      marks,
      ({ at_ms, after_ms = null, text = null }): Mark => ({
        atMs: at_ms,
        afterMs: after_ms,
        text,
      }),
    ),
    proof: proof === undefined ? null : toProof(proof),
    provedAtMs,
    fenced: fenced === undefined ? null : { atMs: fenced.at_ms, reason: fenced.reason },
  };
}

export function toStoredReceipt({ marks, proof, provedAtMs, fenced }: Receipt): StoredReceipt | null {
  const stored: StoredReceipt = {
    ...(Object.keys(marks).length === 0 ? {} : { marks: mapMarks(marks, toStoredMark) }),
    ...(proof === null ? {} : { proof: toStoredProof(proof) }),
    ...(provedAtMs === null ? {} : { proved_at_ms: provedAtMs }),
    ...(fenced === null ? {} : { fenced: { at_ms: fenced.atMs, reason: fenced.reason } }),
  };
  return Object.keys(stored).length === 0 ? null : stored;
}

function mapMarks<From, To>(
  marks: Readonly<Partial<Record<MarkWord, From>>>,
  map: (mark: From) => To,
): Partial<Record<MarkWord, To>> {
  return Object.fromEntries(Object.entries(marks).map(([word, mark]) => [word, map(mark)]));
}

function toStoredMark({ atMs, afterMs, text }: Mark): StoredMark {
  return {
    at_ms: atMs,
    ...(afterMs === null ? {} : { after_ms: afterMs }),
    ...(text === null ? {} : { text }),
  };
}

function toProof(proof: StoredProof): RunProof {
  const { is_whole: isWhole, is_log_complete: isLogComplete, gpus, steps, ...remains } = proof;
  return {
    ...remains,
    isWhole,
    isLogComplete,
    gpus: gpus.map(({ baseline_mib: baselineMib, used_mib: usedMib, ...gpu }) => ({
      ...gpu,
      baselineMib,
      usedMib,
    })),
    steps: steps.map(({ step, after_ms: afterMs }) => ({ step, afterMs })),
  };
}

function toStoredProof({ isWhole, isLogComplete, gpus, steps, ...remains }: RunProof): StoredProof {
  return {
    ...remains,
    is_whole: isWhole,
    is_log_complete: isLogComplete,
    gpus: gpus.map(({ baselineMib, usedMib, ...gpu }) => ({
      ...gpu,
      baseline_mib: baselineMib,
      used_mib: usedMib,
    })),
    steps: steps.map(({ step, afterMs }) => ({ step, after_ms: afterMs })),
  };
}
