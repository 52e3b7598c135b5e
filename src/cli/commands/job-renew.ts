// `flotilla job renew`: a job that is stopped unless it is renewed goes on.
import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import { type ApiFlags, withApiOptions } from '../options.ts';
import { printJson, printLines } from '../output.ts';
import { resolveJob } from '../resolve.ts';

export function addJobRenew(job: Command, cli: Cli) {
  const command = job
    .command('renew')
    .description('Begins the time anew in which a job with --renew-within must be renewed.')
    .argument('<job>', 'uuid, or the start of a recent one')
    .addHelpText('after', '\nExample:\n  while sleep 600; do flotilla job renew UUID; done');
  withApiOptions(command).action((reference: string, flags: ApiFlags) =>
    cli.withClient(flags, async (client) => {
      const renewed = await client.jobs.renew(await resolveJob(client, reference));
      if (flags.json) return printJson(cli.io, renewed);
      const until =
        renewed.renew_by === null ? 'It counts from its start.' : `Renew it by ${renewed.renew_by}.`;
      printLines(cli.io.stdout, [`${renewed.status}. ${until}`]);
    }),
  );
}
