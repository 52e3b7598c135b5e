// `flotilla node epochs`: what a node did in each week, and what it earned.
import type { Command } from 'commander';
import type { NodeEpoch } from '../../protocol/epoch.ts';
import type { Cli } from '../cli.ts';
import { listPages, morePagesLine, type PageFlags } from '../list-pages.ts';
import { type ApiFlags, integerFrom1, withApiOptions } from '../options.ts';
import { printJson, printLines, printTable } from '../output.ts';
import { resolveNode } from '../resolve.ts';
import type { Column } from '../table.ts';

const columns: Column<NodeEpoch>[] = [
  { header: 'WEEK OF', cell: (epoch) => epoch.starts_at.slice(0, 10) },
  { header: 'STATUS', cell: (epoch) => epoch.status },
  { header: 'AVAILABLE H', cell: (epoch) => epoch.hours_available.toFixed(2), align: 'right' },
  { header: 'PREPARED H', cell: (epoch) => epoch.hours_prepared.toFixed(2), align: 'right' },
  { header: 'WORKED H', cell: (epoch) => epoch.hours_worked.toFixed(2), align: 'right' },
  { header: 'USD', cell: (epoch) => epoch.earnings_usd.toFixed(6), align: 'right' },
];

export function addNodeEpochs(node: Command, cli: Cli) {
  const command = node
    .command('epochs')
    .description('Lists the weeks of a node (from Sunday 00:00 UTC) with its hours and earnings.')
    .argument('<node>', 'name or uuid')
    .option('--limit <n>', 'weeks on a page, at most 50', integerFrom1)
    .option('--page <n>', 'page, from 1', integerFrom1)
    .option('--all', 'every page')
    .addHelpText('after', '\nRates: flotilla ledger billing\n\nExample:\n  flotilla node epochs gpu-1');
  withApiOptions(command, 'print an array of API objects').action(
    (reference: string, flags: ApiFlags & PageFlags) =>
      cli.withClient(flags, async (client) => {
        const { uuid } = await resolveNode(client, reference);
        const found = await listPages((query) => client.nodes.epochs(uuid, query), flags);
        if (flags.json) return printJson(cli.io, found.data);
        printTable(cli.io, columns, found.data);
        printLines(cli.io.stderr, morePagesLine(found, 'weeks'));
      }),
  );
}
