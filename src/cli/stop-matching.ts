// Stops every job that matches a filter: shows which, asks on a terminal, and waits for the proof of their ends.
import type { CancelJobsBody, JobStopOutcome, JobStops } from '../protocol/job-stop.ts';
import type { Client } from '../sdk/client.ts';
import { type Cli, untilInterrupted } from './cli.ts';
import { canAsk, confirm } from './confirm.ts';
import { formatDuration } from './duration.ts';
import { WaitTimeoutError } from './errors.ts';
import { exitCodes } from './exit-code.ts';
import { throughRestart } from './follow-job.ts';
import type { Io } from './io.ts';
import { isStopping } from './job-text.ts';
import { printJson, printLines, printTable } from './output.ts';

export interface MatchingStop {
  client: Client;
  /** Which jobs, why, and with what grace. */
  order: Omit<CancelJobsBody, 'dry_run'>;
  isDryRun: boolean;
  /** Nobody is asked. */
  isSure: boolean;
  isJson: boolean;
  /** For the containers to be gone; null: not at all. */
  waitMs: number | null;
}

const pauseMs = 250;
/** The server's largest page. */
const pageSize = 50;

export async function stopMatching(cli: Cli, stop: MatchingStop): Promise<void> {
  const { io } = cli;
  const { client, order } = stop;
  if (stop.isDryRun) {
    show(io, await client.jobs.cancelAll({ ...order, dry_run: true }), stop);
    return;
  }
  const asked = stop.isSure || !canAsk(io) ? order : await askFirst(io, stop);
  if (asked === null) {
    cli.exitCode = exitCodes.other;
    return;
  }
  // Not before: Ctrl-C at the question ends the command.
  const done = await untilInterrupted(io, (signal) => stopAndWait(cli, { ...stop, order: asked, signal }));
  if (done) return;
  io.stderr.write('What was stopped stays stopped; the containers go without us.\n');
  cli.exitCode = exitCodes.interrupted;
}

interface Stopping extends MatchingStop {
  signal: AbortSignal;
}

async function stopAndWait(cli: Cli, stop: Stopping): Promise<true> {
  const { io } = cli;
  const { client, order, signal, waitMs } = stop;
  const startMs = io.nowMs();
  const answer = await throughRestart({ io, signal }, () => stopAll(client, order));
  show(io, answer, stop);
  if (answer.counts.not_found > 0) cli.exitCode ||= exitCodes.notFound;
  if (waitMs !== null) await waitForContainers(cli, { ...stop, jobs: answer.jobs, startMs, waitMs });
  return true;
}

/** The order for what was shown, or null when the answer was no. What is submitted meanwhile is not in it. */
async function askFirst(io: Io, { client, order }: MatchingStop): Promise<MatchingStop['order'] | null> {
  const found = await client.jobs.cancelAll({ ...order, dry_run: true });
  const count = found.counts.would_stop;
  if (count === 0) return order;
  printTable({ ...io, stdout: io.stderr }, columns, found.jobs);
  if (!(await confirm(io, `Stop ${jobsText(count)}?`))) {
    io.stderr.write('Nothing was stopped.\n');
    return null;
  }
  const { all: _, filter = {}, ...rest } = order;
  if (filter.created_at !== undefined) return order;
  return { ...rest, filter: { ...filter, created_at: ['1970-01-01', found.cut_off_at] } };
}

/** Calls again until the server has got through; of very many jobs one call stops a part. */
async function stopAll(client: Client, order: MatchingStop['order']): Promise<JobStops> {
  const answer = await client.jobs.cancelAll(order);
  while (!answer.is_complete) {
    const next = await client.jobs.cancelAll(order);
    answer.is_complete = next.is_complete;
    answer.counts.stopped += next.counts.stopped;
    answer.counts.unchanged += next.counts.unchanged;
  }
  return answer;
}

const columns = [
  { header: 'UUID', cell: (job: JobStopOutcome) => job.uuid },
  { header: 'WAS', cell: (job: JobStopOutcome) => job.previous_status ?? '' },
  { header: 'OUTCOME', cell: outcomeText },
  { header: 'TITLE', cell: (job: JobStopOutcome) => job.title ?? '', isFlexible: true },
];

function outcomeText({ outcome, has_container }: JobStopOutcome): string {
  const word = outcome.replace('_', ' ');
  return has_container ? `${word}, with a container` : word;
}

function show(io: Io, answer: JobStops, { isJson }: MatchingStop): void {
  if (isJson) {
    printJson(io, answer);
    return;
  }
  const { counts, jobs } = answer;
  if (jobs.length > 0) printTable(io, columns, jobs);
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const told = Object.entries(counts).filter(([, count]) => count > 0);
  const text = told.map(([word, count]) => `${count} ${word.replace('_', ' ')}`).join(', ');
  const rest = total > jobs.length ? ` (the first ${jobs.length} are shown)` : '';
  printLines(io.stderr, [total === 0 ? 'No job matches.' : `${jobsText(total)}: ${text}${rest}.`]);
}

function jobsText(count: number): string {
  return count === 1 ? '1 job' : `${count} jobs`;
}

/** Those of the jobs that were told; of more than the server tells, the rest goes on by itself. */
async function waitForContainers(
  cli: Cli,
  wait: Pick<Stopping, 'client' | 'signal'> & { jobs: JobStopOutcome[]; startMs: number; waitMs: number },
): Promise<void> {
  const { io } = cli;
  let left = wait.jobs.filter((job) => job.has_container).map((job) => job.uuid);
  const count = left.length;
  let unverified = 0;
  while (left.length > 0) {
    const stopping: string[] = [];
    for (let index = 0; index < left.length; index += pageSize) {
      const filter = { uuid: left.slice(index, index + pageSize) };
      const { data } = await throughRestart({ io, signal: wait.signal }, () =>
        wait.client.jobs.list({ filter, limit: pageSize }),
      );
      stopping.push(...data.filter(isStopping).map((job) => job.uuid));
      unverified += data.filter((job) => job.teardown?.state === 'unverified').length;
    }
    left = stopping;
    if (left.length === 0) break;
    if (io.nowMs() - wait.startMs >= wait.waitMs) {
      throw new WaitTimeoutError(
        `${left.length} of ${count} containers are not gone yet; their jobs are CANCELLED and the teardown goes on by itself.`,
      );
    }
    await io.sleep(pauseMs, wait.signal);
  }
  if (unverified > 0) cli.exitCode ||= exitCodes.other;
  if (count > 0) printLines(io.stderr, [proofText(count, unverified, io.nowMs() - wait.startMs)]);
}

function proofText(count: number, unverified: number, tookMs: number): string {
  const gone = `${count - unverified} of ${count} containers gone, verified, after ${formatDuration(tookMs)}.`;
  return unverified === 0 ? gone : `${gone} The end of ${unverified} is unverified: their node is lost.`;
}
