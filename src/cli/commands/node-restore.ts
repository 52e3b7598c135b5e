// `flotilla node accept-restore`: the admin's word to nodes after the database was restored.
import type { Command } from 'commander';
import type { Node } from '../../protocol/node.ts';
import type { Cli } from '../cli.ts';
import { UsageError } from '../errors.ts';
import { listPages } from '../list-pages.ts';
import { type ApiFlags, withApiOptions } from '../options.ts';
import { printJson, printLines } from '../output.ts';
import { resolveNode } from '../resolve.ts';

interface AcceptFlags extends ApiFlags {
  reason?: string;
  all?: true;
}

const acceptHelp = `
After its database was restored a node removes nothing and takes no work until this word. "flotilla node get" shows the
containers that the database does not know; with the word they are removed. Exit code 0 also where no node waits.

Examples:
  flotilla node accept-restore gpu-1 --reason "looked at it"
  flotilla node accept-restore --all`;

export function addAcceptRestore(node: Command, cli: Cli) {
  const command = node
    .command('accept-restore')
    .description(
      'After a restore of the database: lets a node remove what that does not know, and take work.',
    )
    .argument('[node]', 'uuid or name')
    .option('--all', 'every node that waits')
    .option('--reason <text>', 'why, for the record')
    .addHelpText('after', acceptHelp);
  withApiOptions(command, 'print an array of the nodes').action(
    (reference: string | undefined, flags: AcceptFlags) => acceptRestores(cli, reference, flags),
  );
}

async function acceptRestores(cli: Cli, reference: string | undefined, flags: AcceptFlags) {
  if ((reference === undefined) === (flags.all === undefined))
    throw new UsageError('Name the node, or give --all for every node that waits.');
  const accepted = await cli.withClient(flags, async (client) => {
    const named =
      reference === undefined
        ? (await listPages((query) => client.nodes.list(query), { all: true })).data
        : [await resolveNode(client, reference)];
    const waiting = named.filter((node) => node.awaits_restore_word);
    const accept = async (node: Node) => ({
      before: node,
      after: await client.nodes.acceptRestore(node.uuid, flags.reason ? { reason: flags.reason } : {}),
    });
    return Promise.all(waiting.map(accept));
  });
  if (flags.json)
    return printJson(
      cli.io,
      accepted.map(({ after }) => after),
    );
  const lines = accepted.map(({ before, after }) => {
    const { length } = before.orphans;
    const removed = `${length} ${length === 1 ? 'container' : 'containers'}`;
    return `Node ${after.name} is ${after.status}; ${removed} that the database does not know will be removed.`;
  });
  printLines(cli.io.stdout, lines.length > 0 ? lines : ['No node waits for this.']);
}
