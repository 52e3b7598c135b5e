// `flotilla events`: what happens to jobs, as a list or as it comes.
import type { Command } from 'commander';
import type { Event } from '../../protocol/event.ts';
import type { Client } from '../../sdk/client.ts';
import { type Cli, untilInterrupted } from '../cli.ts';
import { exitCodes } from '../exit-code.ts';
import { type ApiFlags, integerFrom1, withApiOptions } from '../options.ts';
import { printJson, printLines, printTable } from '../output.ts';
import { resolveJob } from '../resolve.ts';
import type { Column } from '../table.ts';

interface EventFlags extends ApiFlags {
  follow?: true;
  job?: string;
  limit?: number;
  lastId?: string;
}

const columns: Column<Event>[] = [
  { header: 'TIME', cell: (event) => event.created_at },
  { header: 'JOB', cell: (event) => event.job_uuid ?? '-' },
  { header: 'EVENT', cell: (event) => event.kind },
  { header: 'STATUS', cell: statusText },
];

export function addEventsCommand(program: Command, cli: Cli) {
  const command = program
    .command('events')
    .summary('what happens to jobs')
    .description('Lists the events of your jobs, newest first, or prints them as they come.')
    .option('-f, --follow', 'go on printing events as they come, oldest first, from now or the job’s first')
    .option('--job <job>', 'of this job alone: uuid, or the start of a recent one')
    .option('--last-id <id>', 'with --follow: go on after this one (last_id in the lines of --json)')
    .option('--limit <n>', 'events in a list, at most 50', integerFrom1)
    .addHelpText('after', '\nExamples:\n  flotilla events --follow\n  flotilla events --job UUID');
  withApiOptions(command, 'print API objects; with --follow one on each line, with its last_id').action(
    (flags: EventFlags) =>
      cli.withClient(flags, async (client) => {
        const job = flags.job === undefined ? undefined : await resolveJob(client, flags.job);
        if (flags.follow) await followAll(cli, client, { job, flags });
        else await listAll(cli, client, { job, flags });
      }),
  );
}

type Wanted = { job: string | undefined; flags: EventFlags };

async function listAll({ io }: Cli, client: Client, { job, flags }: Wanted): Promise<void> {
  const query = flags.limit === undefined ? {} : { limit: flags.limit };
  const { data } = await (job === undefined ? client.events.list(query) : client.jobs.events(job, query));
  if (flags.json) return printJson(io, data);
  printTable(io, columns, data);
}

async function followAll(cli: Cli, client: Client, { job, flags }: Wanted): Promise<void> {
  const { lastId, json: isJson = false } = flags;
  const isDone = await untilInterrupted(cli.io, async (signal) => {
    const options = { lastId, signal };
    const events = job === undefined ? client.events.follow(options) : client.jobs.followEvents(job, options);
    for await (const { lastId: last_id, ...event } of events)
      printLines(cli.io.stdout, [isJson ? JSON.stringify({ ...event, last_id }) : lineOf(event)]);
    return true;
  });
  if (!isDone) cli.exitCode = exitCodes.interrupted;
}

function lineOf(event: Event): string {
  return columns
    .map(({ cell }) => cell(event))
    .join('  ')
    .trimEnd();
}

function statusText({ from_status: from, to_status: to }: Event): string {
  if (to === null) return '';
  return from === null || from === to ? to : `${from} -> ${to}`;
}
