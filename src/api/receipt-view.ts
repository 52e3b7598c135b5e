// Shows a receipt: what was seen of a run's end, in words that say no more than that.
import type { ReceiptJob, ReceiptRecord, ReceiptRun } from '../db/job-receipts.ts';
import { isTerminal } from '../domain/job.ts';
import { type GpuRemains, isProved, type Remains } from '../domain/receipt.ts';
import type { Receipt, ReceiptLine, ReceiptProof, ReceiptStop } from '../protocol/receipt.ts';
import { nullableTimestamp, timestamp } from './job-view.ts';
import { receiptSteps } from './receipt-steps.ts';

export function receiptView({ job, run }: ReceiptRecord): Receipt {
  const state = run === null ? stateWithoutRun(job) : stateOf(run);
  const isOfRun = run !== null && state !== null;
  return {
    object: 'receipt',
    job_uuid: job.id,
    job_status: job.status,
    run_uuid: run?.id ?? null,
    run_status: run?.status ?? null,
    attempt: run?.attempt ?? null,
    node_uuid: run?.nodeId ?? null,
    container_id: run?.containerId ?? null,
    state,
    summary: run === null ? summaryWithoutRun(job) : summaryOf(job, run),
    stop: stopOf(job),
    cause: state === null ? null : (run ?? job).statusDetail,
    requested_at: nullableTimestamp(run?.teardown?.requestedAtMs ?? (run === null ? stoppedAtMs(job) : null)),
    grace_ms: run !== null && run.teardown !== null ? run.stopGraceMs : null,
    deadline_at: nullableTimestamp(run?.teardown?.deadlineAtMs ?? null),
    exit: isOfRun ? exitOf(run) : null,
    proof: isOfRun ? proofOf(run) : everyLine(state === null ? notYet : neverWas),
    gpus: run === null ? [] : (run.receipt.proof?.gpus ?? []).map(gpuOf),
    is_stuck: isOfRun && run.releasedAtMs === null && run.receipt.marks.stuck !== undefined,
    steps: isOfRun ? receiptSteps(run) : stepsWithoutRun(job),
    verified_at: state === 'verified' ? nullableTimestamp(verifiedAtMs({ job, run })) : null,
  };
}

function stateWithoutRun({ status }: ReceiptJob): Receipt['state'] {
  return isTerminal(status) ? 'verified' : null;
}

function stateOf({ status, releasedAtMs, receipt }: ReceiptRun): Receipt['state'] {
  if (status === 'ASSIGNED' || status === 'PREPARING' || status === 'RUNNING') return null;
  if (releasedAtMs === null) return 'open';
  return isProved(receipt.proof) ? 'verified' : 'unverified';
}

function verifiedAtMs({ job, run }: ReceiptRecord): number | null {
  return run === null ? job.completedAtMs : run.receipt.provedAtMs;
}

function summaryWithoutRun({ status }: ReceiptJob): string {
  if (!isTerminal(status)) return `The job is ${status} and has no run: there is nothing to prove.`;
  return `The job was ${status} before it got a node: nothing of it ever existed.`;
}

function summaryOf(job: ReceiptJob, run: ReceiptRun): string {
  const { receipt } = run;
  const state = stateOf(run);
  if (state === null) return `The job is ${job.status} and its run goes on: there is nothing to prove yet.`;
  if (state === 'verified') return 'Nothing of the run is left.';
  if (state === 'unverified') return `The end is not proved: ${unprovedReason(run)}`;
  if (receipt.marks.stuck !== undefined)
    return `The teardown is past its deadline and goes on: ${receipt.marks.stuck.text ?? 'the agent gave no reason.'}`;
  const open = receiptSteps(run).filter((step) => step.state === 'open' && step.step !== 'verified');
  return `The teardown is under way; still open: ${open.map(({ step }) => step).join(', ')}.`;
}

function unprovedReason({ receipt }: ReceiptRun): string {
  const { proof, fenced } = receipt;
  if (proof === null && fenced !== null)
    return `${fenced.reason} What became of the run there is not known; when the node comes back it removes what is left and proves it.`;
  if (proof === null) return 'the agent of the node did not say what it saw; update it.';
  const { processes, networks, volumes, container, gpus } = proof;
  const whys = [container, processes, networks, volumes].filter(({ state }) => state === 'not_seen');
  const unclean = gpus.filter(({ state }) => state !== 'clean');
  return [
    ...whys.map(({ why }) => why ?? 'a part could not be looked at.'),
    ...unclean.map(({ uuid, why }) => `GPU ${uuid}: ${why ?? 'not clean'}.`),
  ].join(' ');
}

function stopOf(job: ReceiptJob): ReceiptStop | null {
  if (job.status !== 'CANCELLED') return null;
  const { text, by } = (job.statusDetail ?? {}) as { text?: unknown; by?: unknown };
  return {
    text: typeof text === 'string' ? text : '',
    by: typeof by === 'object' ? (by as Record<string, unknown> | null) : null,
    at: nullableTimestamp(job.completedAtMs),
  };
}

function stoppedAtMs({ status, completedAtMs }: ReceiptJob): number | null {
  return status === 'CANCELLED' ? completedAtMs : null;
}

function exitOf({ exitCode, exitSignal, isOomKilled, endedAtMs }: ReceiptRun): Receipt['exit'] {
  if (exitCode === null && exitSignal === null) return null;
  return { code: exitCode, signal: exitSignal, is_oom_killed: isOomKilled, at: nullableTimestamp(endedAtMs) };
}

const notYet: ReceiptLine = { state: 'open', text: 'the run goes on' };
const neverWas: ReceiptLine = { state: 'none', text: 'the job never had a run' };

function everyLine(line: ReceiptLine): ReceiptProof {
  const part = { container: line, processes: line, networks: line, volumes: line };
  return { ...part, gpus: line, ports: line, tokens: line, log: line };
}

const remainsWords = {
  container: { gone: 'removed, and in no list of the engine', none: 'there never was one' },
  processes: { gone: 'none lives in its cgroup', none: 'no container, no process' },
  networks: { gone: "it has no place on the node's network", none: 'it was on no network' },
  volumes: { gone: 'none of its volumes is left', none: 'it had no volume' },
} as const;

function proofOf(run: ReceiptRun): ReceiptProof {
  const { proof } = run.receipt;
  const unknown: ReceiptLine =
    run.releasedAtMs === null
      ? { state: 'open', text: 'not told yet' }
      : { state: 'not_observed', text: 'nobody told of it' };
  const line = (part: keyof typeof remainsWords) =>
    proof === null ? unknown : remainsLine(proof[part], remainsWords[part]);
  return {
    container: line('container'),
    processes: line('processes'),
    networks: line('networks'),
    volumes: line('volumes'),
    gpus: proof === null ? unknown : gpuLine(proof.gpus),
    ports: run.hasOpenPort
      ? { state: 'failed', text: 'a public port still leads to it' }
      : { state: 'proved', text: 'no public port leads to it' },
    tokens: run.hasToken
      ? { state: 'failed', text: 'its access token is not revoked' }
      : { state: 'proved', text: 'its access token is revoked' },
    log: proof === null ? unknown : logLine(proof.isLogComplete),
  };
}

function remainsLine({ state, why }: Remains, words: { gone: string; none: string }): ReceiptLine {
  if (state === 'gone') return { state: 'proved', text: words.gone };
  if (state === 'none') return { state: 'none', text: words.none };
  return { state: 'not_observed', text: why ?? 'it could not be looked at' };
}

function gpuLine(gpus: readonly GpuRemains[]): ReceiptLine {
  if (gpus.length === 0) return { state: 'none', text: 'no GPU' };
  const unclean = gpus.find(({ state }) => state !== 'clean');
  if (unclean === undefined)
    return { state: 'proved', text: 'memory in use is as before the run, and no process of it is left' };
  const text = `${unclean.uuid}: ${unclean.why ?? 'not clean'}`;
  return { state: unclean.state === 'dirty' ? 'failed' : 'not_observed', text };
}

function logLine(isComplete: boolean | null): ReceiptLine {
  if (isComplete === null) return { state: 'not_observed', text: 'its log was not read to its end' };
  return isComplete
    ? { state: 'proved', text: 'its last byte is stored' }
    : { state: 'failed', text: 'its end did not reach the server' };
}

function gpuOf({ uuid, state, why, baselineMib, usedMib }: GpuRemains): Receipt['gpus'][number] {
  return { uuid, state, text: why, baseline_mib: baselineMib, used_mib: usedMib };
}

function stepsWithoutRun({ status, completedAtMs }: ReceiptJob): Receipt['steps'] {
  if (status !== 'CANCELLED' || completedAtMs === null) return [];
  const at = timestamp(completedAtMs);
  return (['requested', 'verified'] as const).map((step) => ({
    ...{ step, state: 'done', clock: 'server', ms: 0, at, text: null },
  }));
}
