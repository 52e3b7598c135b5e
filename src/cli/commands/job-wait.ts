// `flotilla job wait`: until the job has ended; the exit code says how.
import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import { exitCodeHelp } from '../exit-code.ts';
import { type ApiFlags, durationMs, withApiOptions } from '../options.ts';
import { resolveJob } from '../resolve.ts';
import { followToEnd } from '../watch-job.ts';

export function addJobWait(job: Command, cli: Cli) {
  const command = job
    .command('wait')
    .description('Waits until a job has ended, telling its status on stderr.')
    .argument('<job>', 'uuid, or the start of a recent one')
    .option(
      '--timeout <duration>',
      'give up waiting after this time (exit code 8); the job goes on',
      durationMs,
    )
    .addHelpText(
      'after',
      `\nExample:\n  flotilla job wait UUID --timeout 30m && echo it worked\n${exitCodeHelp}`,
    );
  withApiOptions(command, 'print the ended job').action(
    (reference: string, flags: ApiFlags & { timeout?: number }) =>
      cli.withClient(flags, async (client) => {
        const uuid = await resolveJob(client, reference);
        const isJson = flags.json ?? false;
        cli.exitCode = await followToEnd(cli, {
          client,
          uuid,
          isJson,
          hasLog: false,
          timeoutMs: flags.timeout,
        });
      }),
  );
}
