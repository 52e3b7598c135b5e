// `flotilla job get`: one job in readable sections.
import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import { jobLines } from '../job-text.ts';
import { listPages } from '../list-pages.ts';
import { type ApiFlags, withApiOptions } from '../options.ts';
import { printJson, printLines } from '../output.ts';
import { resolveJob } from '../resolve.ts';

export function addJobGet(job: Command, cli: Cli) {
  const command = job
    .command('get')
    .description('Shows one job with its runs.')
    .argument('<job>', 'uuid, or the start of a recent one')
    .addHelpText(
      'after',
      '\nExamples:\n  flotilla job get 019582a6-27fc\n  flotilla job get UUID --json | jq .status_reason',
    );
  withApiOptions(command).action((reference: string, flags: ApiFlags) =>
    cli.withClient(flags, async (client) => {
      const uuid = await resolveJob(client, reference);
      const found = await client.jobs.get(uuid);
      if (flags.json) return printJson(cli.io, found);
      const runs = await listPages((query) => client.runs.list(query), { limit: 50 }, { job_uuid: uuid });
      printLines(cli.io.stdout, jobLines(found, runs.data, cli.io.nowMs()));
    }),
  );
}
