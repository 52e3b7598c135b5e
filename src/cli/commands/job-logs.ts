// `flotilla job logs`: the log of a run, whole or as it grows.
import type { Command } from 'commander';
import type { JobRun, JobRunLogs } from '../../protocol/job-run.ts';
import type { Client } from '../../sdk/client.ts';
import { type Cli, untilInterrupted } from '../cli.ts';
import { NotFoundError } from '../errors.ts';
import { exitCodes } from '../exit-code.ts';
import { throughRestart } from '../follow-job.ts';
import { jobReason } from '../job-text.ts';
import { type ApiFlags, withApiOptions } from '../options.ts';
import { createProgressPrinter } from '../progress-printer.ts';
import { formatBytes } from '../pull-progress.ts';
import { latestRun, resolveJob, resolveRun } from '../resolve.ts';
import { onOneLine } from '../text-width.ts';

interface LogsFlags extends ApiFlags {
  follow?: true;
  run?: string;
}

export function addJobLogs(job: Command, cli: Cli) {
  const command = job
    .command('logs')
    .description('Prints the log of a job, of its latest run unless --run says otherwise.')
    .argument('<job>', 'uuid, or the start of a recent one')
    .option(
      '-f, --follow',
      'wait for the run, show the pull of its image on stderr, and go on printing until it has ended',
    )
    .option('--run <run>', 'uuid of a run, or its attempt: 1, 2, …')
    .addHelpText(
      'after',
      '\nExamples:\n  flotilla job logs UUID\n  flotilla job logs --follow UUID\n  flotilla job logs --run 1 UUID',
    );
  withApiOptions(command, 'print each slice of the log as one line of JSON').action(
    (reference: string, flags: LogsFlags) =>
      cli.withClient(flags, (client) => printLogs(cli, client, { reference, flags })),
  );
}

async function printLogs(
  cli: Cli,
  client: Client,
  { reference, flags }: { reference: string; flags: LogsFlags },
) {
  const uuid = await resolveJob(client, reference);
  const print = (slice: JobRunLogs) => printSlice(cli, slice, flags.json ?? false);
  if (!flags.follow) return printWhole(client, await runOf(client, uuid, flags), print);
  const done = await untilInterrupted(cli.io, async (signal) => {
    const run = await waitForRun(cli, client, { uuid, flags, signal });
    await showPreparation(cli, client, { run, signal });
    return client.runs.followLogs(run.uuid, print, { signal });
  });
  if (done) return;
  cli.io.stderr.write(`Job ${uuid} goes on. Stop it with: flotilla job stop ${uuid}\n`);
  cli.exitCode = exitCodes.interrupted;
}

/** Until the container has started there is no log: how far the pull of its image is goes to stderr meanwhile. */
async function showPreparation(
  { io }: Cli,
  client: Client,
  { run, signal }: { run: JobRun; signal: AbortSignal },
) {
  const printer = createProgressPrinter(io);
  const changes = client.jobs.changes(run.job_uuid, { signal });
  let { status, progress } = run;
  while (status === 'ASSIGNED' || status === 'PREPARING') {
    if (progress !== null) printer.show(progress);
    await changes.next(signal);
    ({ status, progress } = await throughRestart({ io, signal }, () => client.runs.get(run.uuid)));
  }
  changes.close();
  printer.clear();
}

async function printWhole(client: Client, run: JobRun, print: (slice: JobRunLogs) => void) {
  let offset = 0;
  for (;;) {
    const slice = await client.runs.logs(run.uuid, { offset });
    print(slice);
    if (slice.next_offset <= offset || slice.next_offset >= slice.total_bytes) return;
    offset = slice.next_offset;
  }
}

function printSlice({ io }: Cli, slice: JobRunLogs, isJson: boolean) {
  if (isJson) {
    io.stdout.write(`${JSON.stringify(slice)}\n`);
    return;
  }
  if (slice.gap)
    io.stderr.write(
      `(${formatBytes(slice.gap.to - slice.gap.from)} of log were not kept: it is larger than its cap)\n`,
    );
  io.stdout.write(slice.text);
  if (slice.is_complete && slice.is_end_stored === false)
    io.stderr.write('(the end of the log is missing: its node could not bring it in time)\n');
}

async function runOf(client: Client, uuid: string, flags: LogsFlags): Promise<JobRun> {
  if (flags.run) return resolveRun(client, uuid, flags.run);
  const run = await latestRun(client, uuid);
  if (run) return run;
  const job = await client.jobs.get(uuid);
  const reason = jobReason(job);
  throw new NotFoundError(
    `Job ${uuid} has no run and so no log: it is ${job.status}${reason ? `: ${onOneLine(reason)}` : '.'}`,
  );
}

/** With --run the run must be there; the latest one is waited for while the job may still get one. */
async function waitForRun(
  cli: Cli,
  client: Client,
  { uuid, flags, signal }: { uuid: string; flags: LogsFlags; signal: AbortSignal },
): Promise<JobRun> {
  const changes = client.jobs.changes(uuid, { signal });
  try {
    for (;;) {
      const run = flags.run
        ? null
        : await throughRestart({ io: cli.io, signal }, () => latestRun(client, uuid));
      if (run) return run;
      const { status } = await throughRestart({ io: cli.io, signal }, () => client.jobs.get(uuid));
      if (flags.run || !['PENDING', 'ASSIGNED'].includes(status)) return runOf(client, uuid, flags);
      await changes.next(signal);
    }
  } finally {
    changes.close();
  }
}
