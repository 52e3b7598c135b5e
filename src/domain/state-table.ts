// The job × run state table as data: which pairs exist, what each event makes of them, and why the others cannot be.
//
// It is the specification that the test of transition.ts holds against every state that can be reached.
import { type JobRunStatus, type JobStatus, jobRunStatuses, jobStatuses } from './job.ts';
import type { LifeEvent } from './transition.ts';

export type RunWord = JobRunStatus | 'none';
export type EventKind = LifeEvent['kind'];
/** `JOB/RUN` after the event; `same` keeps both words and changes something else; `ignored` changes nothing. */
export type Result = `${JobStatus}/${RunWord}` | 'same' | 'ignored';

export interface ReachableCell {
  job: JobStatus;
  run: RunWord;
  meaning: string;
  /** Every result an event can have here; an event that is not named is always ignored. */
  on: Partial<Record<EventKind, readonly Result[]>>;
}

export interface ImpossibleCells {
  job: JobStatus;
  runs: readonly RunWord[];
  why: string;
}

const once = ['same', 'ignored'] as const;
const fails = ['PENDING/FAILED', 'FAILED/FAILED'] as const;
const ends = ['COMPLETED/COMPLETED', ...fails] as const;
const retries = ['PENDING/FAILED'] as const;
const failing = ['ASSIGNED/FAILING', 'FAILED/FAILING'] as const;

export const reachableCells: readonly ReachableCell[] = [
  {
    ...{ job: 'PENDING', run: 'none', meaning: 'waits for its first node' },
    on: {
      placed: ['ASSIGNED/ASSIGNED'],
      assign_timeout: ['FAILED/none', 'ignored'],
      stop_requested: ['CANCELLED/none'],
    },
  },
  {
    ...{ job: 'PENDING', run: 'FAILED', meaning: 'waits for a node again after a failed run' },
    on: {
      placed: ['ASSIGNED/ASSIGNED'],
      assign_timeout: ['FAILED/FAILED', 'ignored'],
      stop_requested: ['CANCELLED/FAILED'],
      teardown_step: once,
      released: once,
      node_lost: once,
    },
  },
  {
    ...{ job: 'ASSIGNED', run: 'ASSIGNED', meaning: 'its node was chosen and will hear of it' },
    on: {
      stop_requested: ['CANCELLED/CANCELLING'],
      preparing: ['ASSIGNED/PREPARING'],
      running: ['RUNNING/RUNNING'],
      no_public_port: failing,
      exited: ends,
      teardown_step: once,
      released: fails,
      start_timeout: failing,
      node_drained: failing,
      node_lost: fails,
    },
  },
  {
    ...{ job: 'ASSIGNED', run: 'PREPARING', meaning: 'its node pulls the image' },
    on: {
      stop_requested: ['CANCELLED/CANCELLING'],
      preparing: ['same'],
      running: ['RUNNING/RUNNING'],
      no_public_port: failing,
      exited: ends,
      teardown_step: once,
      released: fails,
      start_timeout: failing,
      node_drained: failing,
      node_lost: fails,
    },
  },
  {
    ...{
      job: 'ASSIGNED',
      run: 'FAILING',
      meaning: 'late, without a public port, or on a node that is drained; is torn down, will be retried',
    },
    on: {
      stop_requested: ['CANCELLED/FAILING'],
      running: once,
      exited: once,
      teardown_step: once,
      released: retries,
      node_lost: retries,
    },
  },
  {
    ...{ job: 'RUNNING', run: 'RUNNING', meaning: 'the container runs' },
    on: {
      stop_requested: ['CANCELLED/CANCELLING'],
      exited: ends,
      teardown_step: once,
      released: fails,
      run_timeout: ['RUNNING/FAILING', 'FAILED/FAILING'],
      node_drained: ['RUNNING/FAILING', 'FAILED/FAILING'],
      node_lost: fails,
    },
  },
  {
    ...{
      job: 'RUNNING',
      run: 'FAILING',
      meaning: 'ran too long, or its node is drained; is torn down, will be retried',
    },
    on: {
      stop_requested: ['CANCELLED/FAILING'],
      exited: once,
      teardown_step: once,
      released: retries,
      node_lost: retries,
    },
  },
  {
    ...{ job: 'COMPLETED', run: 'COMPLETED', meaning: 'exited with code 0' },
    on: { teardown_step: once, released: once, node_lost: once },
  },
  {
    ...{ job: 'FAILED', run: 'none', meaning: 'no node could take it in time' },
    on: {},
  },
  {
    ...{
      job: 'FAILED',
      run: 'FAILING',
      meaning: 'late, without a public port, or on a node that is drained, and not retried; is torn down',
    },
    on: {
      running: once,
      exited: once,
      teardown_step: once,
      released: ['FAILED/FAILED'],
      node_lost: ['FAILED/FAILED'],
    },
  },
  {
    ...{ job: 'FAILED', run: 'FAILED', meaning: 'failed for good' },
    on: { teardown_step: once, released: once, node_lost: once },
  },
  {
    ...{ job: 'CANCELLED', run: 'none', meaning: 'stopped before it was placed' },
    on: {},
  },
  {
    ...{ job: 'CANCELLED', run: 'FAILING', meaning: 'stopped while a run that timed out was torn down' },
    on: {
      running: once,
      exited: once,
      teardown_step: once,
      released: ['CANCELLED/FAILED'],
      node_lost: ['CANCELLED/FAILED'],
    },
  },
  {
    ...{
      job: 'CANCELLED',
      run: 'CANCELLING',
      meaning: 'stopped; the end of the container is not proved yet',
    },
    on: {
      running: once,
      exited: once,
      teardown_step: once,
      released: ['CANCELLED/CANCELLED'],
      node_lost: ['CANCELLED/CANCELLED'],
    },
  },
  {
    ...{ job: 'CANCELLED', run: 'FAILED', meaning: 'stopped between a failed run and its retry' },
    on: { teardown_step: once, released: once, node_lost: once },
  },
  {
    ...{
      job: 'CANCELLED',
      run: 'CANCELLED',
      meaning: 'stopped; nothing of the run is left, or its node is fenced',
    },
    on: { released: once },
  },
];

const placedTogether = 'placement writes the run with the job';
const startedTogether = 'the report that the container runs moves both';
const stopIsFirst = 'Stop makes the job CANCELLED at once';
const completesTogether = 'exit code 0 completes both';
const retryOrEnd = 'a failed run makes the job PENDING or FAILED in the same step';
const endIsFirst = 'a live run belongs to a live job, or is torn down';

export const impossibleCells: readonly ImpossibleCells[] = [
  { job: 'PENDING', runs: ['ASSIGNED', 'PREPARING', 'RUNNING'], why: placedTogether },
  { job: 'PENDING', runs: ['FAILING'], why: 'a job returns to PENDING only when its run has ended' },
  { job: 'PENDING', runs: ['CANCELLING', 'CANCELLED'], why: stopIsFirst },
  { job: 'PENDING', runs: ['COMPLETED'], why: completesTogether },
  { job: 'ASSIGNED', runs: ['none'], why: placedTogether },
  { job: 'ASSIGNED', runs: ['RUNNING'], why: startedTogether },
  { job: 'ASSIGNED', runs: ['CANCELLING', 'CANCELLED'], why: stopIsFirst },
  { job: 'ASSIGNED', runs: ['COMPLETED'], why: completesTogether },
  { job: 'ASSIGNED', runs: ['FAILED'], why: retryOrEnd },
  { job: 'RUNNING', runs: ['none'], why: placedTogether },
  { job: 'RUNNING', runs: ['ASSIGNED', 'PREPARING'], why: startedTogether },
  { job: 'RUNNING', runs: ['CANCELLING', 'CANCELLED'], why: stopIsFirst },
  { job: 'RUNNING', runs: ['COMPLETED'], why: completesTogether },
  { job: 'RUNNING', runs: ['FAILED'], why: retryOrEnd },
  { job: 'COMPLETED', runs: ['none'], why: 'only a run completes a job' },
  { job: 'COMPLETED', runs: ['ASSIGNED', 'PREPARING', 'RUNNING', 'FAILING'], why: endIsFirst },
  { job: 'COMPLETED', runs: ['CANCELLING', 'CANCELLED'], why: stopIsFirst },
  { job: 'COMPLETED', runs: ['FAILED'], why: retryOrEnd },
  { job: 'FAILED', runs: ['ASSIGNED', 'PREPARING', 'RUNNING'], why: endIsFirst },
  { job: 'FAILED', runs: ['CANCELLING', 'CANCELLED'], why: stopIsFirst },
  { job: 'FAILED', runs: ['COMPLETED'], why: completesTogether },
  {
    job: 'CANCELLED',
    runs: ['ASSIGNED', 'PREPARING', 'RUNNING'],
    why: 'Stop makes the run CANCELLING at once',
  },
  { job: 'CANCELLED', runs: ['COMPLETED'], why: completesTogether },
];

/** Both tables as Markdown: the pairs, and what each event makes of the reachable ones. */
export function stateTableMarkdown(): string {
  return `${pairTable()}\n\n${eventTable()}\n`;
}

function pairTable(): string {
  const runs: RunWord[] = ['none', ...jobRunStatuses];
  const rows = jobStatuses.map((job) => row([`**${job}**`, ...runs.map((run) => pairText(job, run))]));
  return [row(['job \\ run', ...runs]), row(['---', ...runs.map(() => '---')]), ...rows].join('\n');
}

function pairText(job: JobStatus, run: RunWord): string {
  const reachable = reachableCells.find((cell) => cell.job === job && cell.run === run);
  if (reachable !== undefined) return reachable.meaning;
  const impossible = impossibleCells.find((cells) => cells.job === job && cells.runs.includes(run));
  return `*never: ${impossible?.why ?? 'not described'}*`;
}

function eventTable(): string {
  const rows = reachableCells.flatMap(({ job, run, on }) =>
    Object.entries(on).map(([kind, results]) => row([`${job}/${run}`, `\`${kind}\``, results.join(' or ')])),
  );
  return [row(['job/run', 'event', 'becomes']), row(['---', '---', '---']), ...rows].join('\n');
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}
