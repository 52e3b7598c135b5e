// `flotilla job list`: a table of jobs, filtered and paged by the server.
import type { Command } from 'commander';
import type { Job } from '../../protocol/job.ts';
import type { Cli } from '../cli.ts';
import { formatAge } from '../duration.ts';
import { jobReason, statusWord, withoutLogLines } from '../job-text.ts';
import { listPages, morePagesLine, type PageFlags } from '../list-pages.ts';
import { type ApiFlags, collect, durationMs, integerFrom1, withApiOptions } from '../options.ts';
import { paintStatus, printJson, printLines, printTable, terminalWidth } from '../output.ts';
import type { Column } from '../table.ts';

interface ListFlags extends ApiFlags, PageFlags {
  status?: string[];
  task?: string;
  title?: string;
  label?: string[];
  olderThan?: number;
}

/** Below this the reason would leave no room for the title. */
const widthForReason = 110;

export function addJobList(job: Command, cli: Cli) {
  const command = job
    .command('list')
    .alias('ls')
    .description('Lists jobs, newest first.')
    .option(
      '--status <status>',
      'only these (repeatable, or separated by commas), PENDING,RUNNING for example',
      collect,
    )
    .option('--task <task>', 'BATCH or PERSISTENT')
    .option('--title <start>', 'only jobs whose title begins so')
    .option('--label <key=value>', 'only jobs with this label (repeatable: all of them)', collect)
    .option('--older-than <duration>', 'only jobs created at least this long ago', durationMs)
    .option('--limit <n>', 'jobs on a page, at most 50 (default 20)', integerFrom1)
    .option('--page <n>', 'page, from 1', integerFrom1)
    .option('--all', 'every page')
    .addHelpText(
      'after',
      '\nExamples:\n  flotilla job list --status PENDING,RUNNING\n  flotilla job list --label team=web --all --json | jq -r ".[].uuid"',
    );
  withApiOptions(command, 'print an array of API objects').action((flags: ListFlags) => listJobs(cli, flags));
}

async function listJobs(cli: Cli, flags: ListFlags) {
  const filter = {
    status: flags.status?.map((it) => it.toUpperCase()),
    task: flags.task?.toUpperCase(),
    title_prefix: flags.title,
    label: flags.label,
    older_than_ms: flags.olderThan,
  };
  const list = await cli.withClient(flags, (client) =>
    listPages((query) => client.jobs.list(query), flags, filter),
  );
  if (flags.json) return printJson(cli.io, list.data);
  printTable(cli.io, columnsFor(cli), list.data);
  printLines(cli.io.stderr, morePagesLine(list, 'jobs'));
}

function columnsFor({ io }: Cli): Column<Job>[] {
  const width = terminalWidth(io.stdout);
  const columns: Column<Job>[] = [
    { header: 'UUID', cell: (job) => job.uuid },
    { header: 'STATUS', cell: statusWord, paint: (text, job) => paintStatus(io, job.status, text) },
    { header: 'TASK', cell: (job) => job.task },
    { header: 'AGE', cell: (job) => formatAge(io.nowMs() - Date.parse(job.created_at)), align: 'right' },
    { header: 'TITLE', cell: (job) => job.title, isFlexible: width !== null && width < widthForReason },
  ];
  if (width !== null && width < widthForReason) return columns;
  return [
    ...columns,
    { header: 'REASON', cell: (job) => withoutLogLines(jobReason(job) ?? ''), isFlexible: true },
  ];
}
