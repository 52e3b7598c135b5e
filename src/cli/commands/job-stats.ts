// `flotilla job stats`: CPU, memory, GPUs, network and disk of a job's run over time.
import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import { parseDurationMs } from '../duration.ts';
import { NotFoundError } from '../errors.ts';
import { pointColumns } from '../load-text.ts';
import { type ApiFlags, withApiOptions } from '../options.ts';
import { printJson, printLines, printTable } from '../output.ts';
import { latestRun, resolveJob, resolveRun } from '../resolve.ts';

interface StatsFlags extends ApiFlags {
  run?: string;
  step?: number;
  from?: string;
  to?: string;
}

const help = `
Nodes are sampled every ten seconds; after an hour there is one average for every five minutes.

Examples:
  flotilla job stats UUID
  flotilla job stats --step 5m --from 2026-01-31 UUID
  flotilla job stats UUID --json | jq '.points[].cpu_cores'`;

export function addJobStats(job: Command, cli: Cli) {
  const command = job
    .command('stats')
    .description('Shows what a job used over time, in its latest run unless --run says otherwise.')
    .argument('<job>', 'uuid, or the start of a recent one')
    .option('--run <run>', 'uuid of a run, or its attempt: 1, 2, …')
    .option('--step <duration>', 'time between two lines, 10s or more', parseDurationMs)
    .option('--from <time>', 'a date or time, UTC (default: the start of the run)')
    .option('--to <time>', 'a date or time, UTC (default: the end of the run, or now)')
    .addHelpText('after', help);
  withApiOptions(command).action((reference: string, flags: StatsFlags) =>
    cli.withClient(flags, async (client) => {
      const uuid = await resolveJob(client, reference);
      const run = await (flags.run === undefined
        ? latestRun(client, uuid)
        : resolveRun(client, uuid, flags.run));
      if (run === null) throw new NotFoundError('The job has no run yet; "flotilla job wait" waits for one.');
      const { from, to, step } = flags;
      const stats = await client.runs.stats(run.uuid, { from, to, step_ms: step });
      if (flags.json) return printJson(cli.io, stats);
      printTable(cli.io, pointColumns, stats.points);
      if (stats.points.length === 0)
        printLines(cli.io.stderr, ['No sample was taken: the run was too short, or its node tells of none.']);
    }),
  );
}
