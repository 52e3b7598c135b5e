// A receipt in words: the steps of a teardown as they come, and the whole of it as tables.
import type { Receipt, ReceiptStepName } from '../protocol/receipt.ts';
import { formatDuration } from './duration.ts';
import { type Column, pairLines, tableLines } from './table.ts';
import { onOneLine } from './text-width.ts';

/** What is said of a step when it is done. */
const stepWords: Record<ReceiptStepName, string> = {
  requested: 'stop requested',
  ports_closed: 'ports closed, token revoked',
  delivered: 'delivered to the agent',
  signalled: 'stop signal sent',
  killed: 'KILL sent',
  cgroup_killed: 'KILL sent to its cgroup',
  exited: 'container ended',
  log_stored: 'last log byte stored',
  removed: 'container removed',
  processes_gone: 'no process left',
  networks_gone: 'off the network',
  volumes_gone: 'volumes removed',
  gpus_clean: 'GPUs clean',
  verified: 'verified',
};

/** Those worth a line of their own while a person waits; the others come with the proof. */
const ladder: ReadonlySet<ReceiptStepName> = new Set([
  ...(['requested', 'delivered', 'signalled', 'killed', 'cgroup_killed', 'exited'] as const),
]);

/** By step, what to say of those of the stop ladder that are done. */
export function ladderWords(receipt: Receipt): Map<ReceiptStepName, string> {
  const done = receipt.steps.filter(({ step, state }) => ladder.has(step) && state === 'done');
  const exit = exitText(receipt);
  return new Map(
    done.map(({ step }) => [
      step,
      step === 'exited' && exit !== null ? `${stepWords[step]}, ${exit}` : stepWords[step],
    ]),
  );
}

/** How it ended, when it has. */
export function outcomeText(receipt: Receipt): string {
  return receipt.state === 'verified' ? 'container gone, verified' : onOneLine(receipt.summary);
}

interface Row {
  name: string;
  state: string;
  server: string;
  agent: string;
  text: string;
}

/** The receipt for people; `width` null: no limit. */
export function receiptLines(receipt: Receipt, width: number | null): string[] {
  const { state, summary, steps, proof } = receipt;
  if (state === null) return [...headLines(receipt), '', onOneLine(summary)];
  const ms = (of: 'server' | 'agent', { clock, ms: value }: Receipt['steps'][number]) =>
    clock === of && value !== null ? String(value) : '';
  const stepRows = steps.map((step) => ({
    name: stepWords[step.step],
    state: step.state.replaceAll('_', ' '),
    server: ms('server', step),
    agent: ms('agent', step),
    text: step.text ?? '',
  }));
  const partRows = Object.entries(proof).map(([part, line]) => ({
    ...{ name: part, state: line.state.replaceAll('_', ' '), server: '', agent: '', text: line.text },
  }));
  return [
    ...headLines(receipt),
    '',
    onOneLine(summary),
    ...(stepRows.length > 0 ? ['', ...tableLines(stepColumns, stepRows, width)] : []),
    '',
    ...tableLines(partColumns, partRows, width),
    '',
    ...clockLines(receipt),
  ];
}

const stepColumns: Column<Row>[] = [
  { header: 'STEP', cell: (row) => row.name },
  { header: 'STATE', cell: (row) => row.state },
  { header: 'SERVER MS', cell: (row) => row.server, align: 'right' },
  { header: 'AGENT MS', cell: (row) => row.agent, align: 'right' },
  { header: 'NOTE', cell: (row) => row.text, isFlexible: true },
];

const partColumns: Column<Row>[] = [
  { header: 'WHAT', cell: (row) => row.name },
  { header: 'STATE', cell: (row) => row.state },
  { header: 'SEEN', cell: (row) => row.text, isFlexible: true },
];

function headLines(receipt: Receipt): string[] {
  const { job_uuid, job_status, attempt, run_uuid, node_uuid, state, stop, grace_ms, verified_at } = receipt;
  return pairLines([
    ['Job', `${job_uuid} (${job_status})`],
    ['Run', run_uuid && `${run_uuid}, attempt ${attempt}, on node ${node_uuid}`],
    ['Receipt', state ?? 'none yet'],
    ['Stopped', stop && stopText(stop)],
    ['Grace', grace_ms === null ? null : formatDuration(grace_ms)],
    ['Exit', exitText(receipt)],
    ['Verified', verified_at],
  ]);
}

/** `seen enough, by key pk_… from 10.0.0.7 at …`. */
function stopText({ text, by, at }: NonNullable<Receipt['stop']>): string {
  const who = stopperText(by);
  return [onOneLine(text), who === null ? '' : `, ${who}`, at === null ? '' : ` at ${at}`].join('');
}

/** Who stopped it, from the structured reason; null when that does not say. */
export function stopperText(by: Record<string, unknown> | null): string | null {
  if (by === null) return null;
  const { kind, public_key: key, address } = by;
  const parts = [
    typeof key === 'string' ? `by key ${key}` : typeof kind === 'string' ? `by ${kind}` : null,
    typeof address === 'string' ? `from ${address}` : null,
  ].filter((part) => part !== null);
  return parts.length === 0 ? null : onOneLine(parts.join(' '));
}

function exitText({ exit }: Receipt): string | null {
  if (exit === null) return null;
  const memory = exit.is_oom_killed ? ', out of memory' : '';
  return `exit code ${exit.code ?? '?'}${exit.signal === null ? '' : `, ${exit.signal}`}${memory}`;
}

function clockLines({ requested_at: requestedAt, steps }: Receipt): string[] {
  const clocks = new Set(steps.map(({ clock }) => clock));
  const since = requestedAt === null ? 'the end was told' : `${requestedAt}, when the stop was asked for`;
  return [
    ...(clocks.has('server') ? [`Server: milliseconds since ${since}, by the database's clock.`] : []),
    ...(clocks.has('agent')
      ? ['Agent: milliseconds since the agent first heard of the end, by its own clock.']
      : []),
  ];
}
