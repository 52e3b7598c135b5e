// `flotilla job receipt`: what was seen of a job's end, step by step.
import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import { type ApiFlags, withApiOptions } from '../options.ts';
import { printJson, printLines, terminalWidth } from '../output.ts';
import { receiptLines } from '../receipt-text.ts';
import { resolveJob, resolveRun } from '../resolve.ts';

interface ReceiptFlags extends ApiFlags {
  run?: string;
}

const help = `
"verified": the container, its processes, its place on the network, its volumes and the memory of its GPUs were looked
for after the end, and nothing was there. "unverified": somebody could not look, for example since the node is lost.
"open": the teardown is under way.

Examples:
  flotilla job receipt UUID
  flotilla job receipt --run 1 UUID
  flotilla job receipt UUID --json | jq .proof`;

export function addJobReceipt(job: Command, cli: Cli) {
  const command = job
    .command('receipt')
    .description('Shows the proof of the end of a job, of its latest run unless --run says otherwise.')
    .argument('<job>', 'uuid, or the start of a recent one')
    .option('--run <run>', 'uuid of a run, or its attempt: 1, 2, …')
    .addHelpText('after', help);
  withApiOptions(command).action((reference: string, flags: ReceiptFlags) =>
    cli.withClient(flags, async (client) => {
      const uuid = await resolveJob(client, reference);
      const run = flags.run === undefined ? null : await resolveRun(client, uuid, flags.run);
      const receipt = await client.jobs.receipt(uuid, run === null ? {} : { runUuid: run.uuid });
      if (flags.json) return printJson(cli.io, receipt);
      printLines(cli.io.stdout, receiptLines(receipt, terminalWidth(cli.io.stdout)));
    }),
  );
}
