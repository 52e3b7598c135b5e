// `flotilla job stop`: stops jobs by name and shows each teardown step by step, or all that match a filter.
import type { Command } from 'commander';
import type { CancelJobBody, Job } from '../../protocol/job.ts';
import type { CancelJobsBody } from '../../protocol/job-stop.ts';
import type { Client } from '../../sdk/client.ts';
import { type Cli, untilInterrupted } from '../cli.ts';
import { formatDuration } from '../duration.ts';
import { UsageError } from '../errors.ts';
import { errorExitCode, errorLines, exitCodes } from '../exit-code.ts';
import { followTeardown } from '../follow-teardown.ts';
import { type ApiFlags, collect, durationMs, withApiOptions } from '../options.ts';
import { printJson, printLines } from '../output.ts';
import { resolveJob } from '../resolve.ts';
import { stopMatching } from '../stop-matching.ts';
import { onOneLine } from '../text-width.ts';

interface StopFlags extends ApiFlags {
  all?: true;
  status?: string[];
  task?: string;
  title?: string;
  label?: string[];
  olderThan?: number;
  dryRun?: true;
  yes?: true;
  reason?: string;
  grace?: number;
  /** false: --no-wait. */
  wait: boolean;
  timeout?: number;
}

const defaultTimeoutMs = 120_000;
const whichJobs = 'Say which jobs to stop: by uuid, by filters such as --status PENDING, or --all.';

const help = `
A stopped job is CANCELLED at once; the command then waits for the proof that its container is gone.
With filters every job that matches all of them is stopped in one request; on a terminal you are asked first.
Stopping a job that has ended changes nothing. Exit code 0: all have ended with proof; 1: the end of one is
unverified, for example because its node is lost; 8: the time for waiting is up, the teardown goes on by itself.

Examples:
  flotilla job stop UUID
  flotilla job stop UUID UUID --reason "wrong data" --grace 30s
  flotilla job stop --label team=web --status PENDING --dry-run
  flotilla job stop --title nightly- --older-than 2h --yes
  flotilla job stop --all`;

export function addJobStop(job: Command, cli: Cli) {
  const command = job
    .command('stop')
    .alias('cancel')
    .description('Stops jobs in whatever state they are.')
    .argument('[job...]', 'uuids, or the starts of recent ones')
    .option('--all', 'every job of the account that has not ended')
    .option('--status <status>', 'only these (repeatable, or separated by commas)', collect)
    .option('--task <task>', 'only BATCH or PERSISTENT')
    .option('--title <start>', 'only jobs whose title begins so')
    .option('--label <key=value>', 'only jobs with this label (repeatable: all of them)', collect)
    .option('--older-than <duration>', 'only jobs created at least this long ago', durationMs)
    .option('--dry-run', 'show what would be stopped, and stop nothing')
    .option('--yes', 'do not ask')
    .option('--reason <text>', 'why, for the record')
    .option(
      '--grace <duration>',
      "time between stop signal and KILL, at most 5m (default: the job's, or 10s)",
      durationMs,
    )
    .option('--no-wait', 'do not wait for the containers to be gone')
    .option('--timeout <duration>', 'give up waiting after this time (default 2m and the grace)', durationMs)
    .addHelpText('after', help);
  const json = 'print an array of the jobs; with filters, what became of each';
  withApiOptions(command, json).action((references: string[], flags: StopFlags) =>
    isByFilter(flags) ? stopByFilter(cli, references, flags) : stopJobs(cli, references, flags),
  );
}

function isByFilter({ all, status, task, title, label, olderThan, dryRun }: StopFlags): boolean {
  return [all, status, task, title, label, olderThan, dryRun].some((flag) => flag !== undefined);
}

function stopByFilter(cli: Cli, references: string[], flags: StopFlags) {
  const { dryRun = false, yes = false, json = false, wait } = flags;
  return cli.withClient(flags, async (client) => {
    const uuid = await Promise.all(references.map((reference) => resolveJob(client, reference)));
    const order = { ...which(uuid, flags), ...bodyOf(flags) };
    const waitMs = wait ? timeoutOf(flags) : null;
    await stopMatching(cli, { client, order, waitMs, isDryRun: dryRun, isSure: yes, isJson: json });
  });
}

/** The server says what is wrong with the values. */
function which(
  uuid: string[],
  { all, status, task, title, label, olderThan }: StopFlags,
): Pick<CancelJobsBody, 'all' | 'filter'> {
  const filter = {
    ...(uuid.length === 0 ? {} : { uuid }),
    ...(status === undefined ? {} : { status: status.join().toUpperCase() }),
    ...(task === undefined ? {} : { task: task.toUpperCase() }),
    ...(title === undefined ? {} : { title_prefix: title }),
    ...(label === undefined ? {} : { label }),
    ...(olderThan === undefined ? {} : { older_than_ms: olderThan }),
  };
  if (all === undefined && Object.keys(filter).length === 0) throw new UsageError(whichJobs);
  return { ...(all === undefined ? {} : { all }), ...(Object.keys(filter).length === 0 ? {} : { filter }) };
}

/** Each job by itself: one that cannot be stopped does not keep the others alive. */
async function stopJobs(cli: Cli, references: string[], flags: StopFlags) {
  if (references.length === 0) throw new UsageError(whichJobs);
  const { io } = cli;
  const jobs = await untilInterrupted(io, (signal) =>
    cli.withClient(flags, (client) =>
      Promise.all(references.map((reference) => stopOrReport(cli, { client, reference, flags, signal }))),
    ),
  );
  if (!jobs) {
    io.stderr.write('The jobs stay CANCELLED; their containers are being stopped without us.\n');
    cli.exitCode = exitCodes.interrupted;
  } else if (flags.json) {
    printJson(
      io,
      jobs.filter((job) => job !== null),
    );
  }
}

interface Stop {
  client: Client;
  reference: string;
  flags: StopFlags;
  signal: AbortSignal;
}

async function stopOrReport(cli: Cli, stop: Stop): Promise<Job | null> {
  try {
    return await stopJob(cli, stop);
  } catch (error) {
    if (stop.signal.aborted) throw error;
    const [first = '', ...rest] = errorLines(error, Boolean(cli.io.env.FLOTILLA_DEBUG));
    // Of several jobs it must be clear which one is meant.
    const place = first.includes(stop.reference) ? '' : ` (${stop.reference})`;
    printLines(cli.io.stderr, [first + place, ...rest]);
    cli.exitCode ||= errorExitCode(error);
    return null;
  }
}

async function stopJob(cli: Cli, { client, reference, flags, signal }: Stop): Promise<Job> {
  const { io } = cli;
  const uuid = await resolveJob(client, reference);
  const startMs = io.nowMs();
  const say = (text: string) => {
    const line = `${uuid}  ${formatDuration(io.nowMs() - startMs).padStart(6)}  ${text}`;
    printLines(flags.json ? io.stderr : io.stdout, [line]);
  };
  const job = await client.jobs.cancel(uuid, bodyOf(flags));
  const reason = job.status_reason ? `: ${onOneLine(job.status_reason)}` : '';
  say(`${job.status}${reason}`);
  if (job.teardown === null) return job;
  if (!flags.wait) {
    say('stop requested');
    return job;
  }
  const giveUpMs = startMs + timeoutOf(flags);
  const receipt = await followTeardown({ client, io, signal }, uuid, { giveUpMs, say });
  if (receipt.state === 'unverified') cli.exitCode ||= exitCodes.other;
  return client.jobs.get(uuid);
}

function timeoutOf({ timeout, grace = 0 }: StopFlags): number {
  return timeout ?? defaultTimeoutMs + grace;
}

function bodyOf(flags: StopFlags): Omit<CancelJobBody, 'wait_ms'> {
  return {
    ...(flags.reason ? { reason: flags.reason } : {}),
    ...(flags.grace === undefined ? {} : { stop_grace_ms: flags.grace }),
  };
}
