// Shows a job on the terminal until it ends: status and progress on stderr, log on stdout, outcome as exit code.
import type { Job } from '../protocol/job.ts';
import type { JobRun } from '../protocol/job-run.ts';
import type { Client } from '../sdk/client.ts';
import { type Cli, untilInterrupted } from './cli.ts';
import { formatDuration } from './duration.ts';
import { WaitTimeoutError } from './errors.ts';
import { exitCodes, outcomeExitCode } from './exit-code.ts';
import { followJob, type JobListener } from './follow-job.ts';
import type { Io } from './io.ts';
import { jobReason, withoutLogLines } from './job-text.ts';
import { printJson } from './output.ts';
import { createProgressPrinter } from './progress-printer.ts';
import { formatBytes } from './pull-progress.ts';

export interface Watching {
  client: Client;
  uuid: string;
  /** The ended job goes to stdout, its log to stderr. */
  isJson: boolean;
  hasLog?: boolean;
  timeoutMs?: number | undefined;
}

/** The exit code of the outcome, or that of Ctrl-C, which leaves the job alone. */
export async function followToEnd(cli: Cli, watching: Watching): Promise<number> {
  const { io } = cli;
  const { client, uuid, timeoutMs } = watching;
  const screen = createScreen(io, watching);
  const untilMs = timeoutMs === undefined ? Number.POSITIVE_INFINITY : io.nowMs() + timeoutMs;
  const job = await untilInterrupted(io, (signal) =>
    followJob({ client, io, signal, onOutage: screen.onOutage }, uuid, {
      listener: screen.listener,
      untilMs,
    }),
  ).finally(screen.end);
  if (!job) {
    io.stderr.write(`Job ${uuid} goes on. Stop it with: flotilla job stop ${uuid}\n`);
    return exitCodes.interrupted;
  }
  if (watching.isJson) printJson(io, job);
  const code = outcomeExitCode(job.status);
  if (code !== null) return code;
  throw new WaitTimeoutError(
    `Job ${uuid} is still ${job.status} after ${formatDuration(timeoutMs ?? 0)}; it goes on.`,
  );
}

/** Keeps status lines, the progress bar and the log from running into each other. */
function createScreen(io: Io, watching: Watching) {
  const startMs = io.nowMs();
  const progress = createProgressPrinter(io);
  const logOutput = watching.isJson ? io.stderr : io.stdout;
  let printed = '';
  let lastLine = '';
  let isLineOpen = false;
  const endLine = () => {
    progress.clear();
    // A file or a pipe gets the log's own bytes, nothing more.
    if (isLineOpen && logOutput.isTTY) logOutput.write('\n');
    isLineOpen = false;
  };
  const say = (text: string) => {
    endLine();
    io.stderr.write(`${formatDuration(io.nowMs() - startMs).padStart(6)}  ${text}\n`);
  };
  const listener: JobListener = {
    onChange(job, run) {
      const line = statusLine(job, run);
      // How it ended is said last, after its log.
      if (outcomeExitCode(job.status) !== null) lastLine = line;
      else if (line !== printed) say(line);
      printed = line;
      if (run?.status === 'PREPARING' && run.progress) progress.show(run.progress);
    },
    onLog(text) {
      if (watching.hasLog === false) return;
      progress.clear();
      logOutput.write(text);
      isLineOpen = !text.endsWith('\n');
    },
    onGap(bytes) {
      if (watching.hasLog !== false)
        say(`(${formatBytes(bytes)} of log were not kept: it is larger than its cap)`);
    },
  };
  return {
    listener,
    onOutage: () => say('The server does not answer; trying again for a minute.'),
    end() {
      if (lastLine === '') endLine();
      else say(lastLine);
    },
  };
}

/** `PENDING: needs 48 GB of VRAM`, `RUNNING on node …`, `FAILED: exit code 1`. */
function statusLine(job: Job, run: JobRun | null): string {
  const reason = jobReason(job);
  const because = reason ? `: ${withoutLogLines(reason)}` : '';
  if (job.status === 'ASSIGNED' || job.status === 'RUNNING') {
    const attempt = run && run.attempt > 1 ? `, attempt ${run.attempt}` : '';
    return run ? `${run.status} on node ${run.node_uuid}${attempt}` : job.status;
  }
  return `${job.status}${because}`;
}
