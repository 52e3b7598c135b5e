// `flotilla node cordon|uncordon|drain|remove|events`: takes nodes out of service and back, and shows who did.
import type { Command } from 'commander';
import type { Node, NodeEvent } from '../../protocol/node.ts';
import type { Client } from '../../sdk/client.ts';
import { type Cli, untilInterrupted } from '../cli.ts';
import { formatDuration } from '../duration.ts';
import { WaitTimeoutError } from '../errors.ts';
import { exitCodes } from '../exit-code.ts';
import { throughRestart } from '../follow-job.ts';
import { listPages, morePagesLine } from '../list-pages.ts';
import { type ApiFlags, durationMs, integerFrom1, withApiOptions } from '../options.ts';
import { printJson, printLines, printTable } from '../output.ts';
import { resolveNode } from '../resolve.ts';
import type { Column } from '../table.ts';
import { onOneLine } from '../text-width.ts';

export function addNodeMaintenance(node: Command, cli: Cli) {
  addCordon(node, cli);
  addUncordon(node, cli);
  addDrain(node, cli);
  addRemove(node, cli);
  addEvents(node, cli);
}

interface ChangeFlags extends ApiFlags {
  reason?: string;
}

function changeCommand(node: Command, name: string, description: string): Command {
  return node
    .command(name)
    .description(description)
    .argument('<node>', 'uuid or name')
    .option('--reason <text>', 'why, for the record');
}

function addCordon(node: Command, cli: Cli) {
  const command = changeCommand(
    node,
    'cordon',
    'Gives a node no new work; what it runs goes on.',
  ).addHelpText('after', '\nExample:\n  flotilla node cordon gpu-1 --reason "noisy fan"');
  withApiOptions(command).action((reference: string, flags: ChangeFlags) =>
    changeNode(cli, { reference, flags }, (client, { uuid }) => client.nodes.cordon(uuid, bodyOf(flags))),
  );
}

function addUncordon(node: Command, cli: Cli) {
  const command = changeCommand(
    node,
    'uncordon',
    'Gives a node work again. A drain under way ends; what it has stopped stays stopped.',
  ).addHelpText('after', '\nExample:\n  flotilla node uncordon gpu-1');
  withApiOptions(command).action((reference: string, flags: ChangeFlags) =>
    changeNode(cli, { reference, flags }, (client, { uuid }) => client.nodes.uncordon(uuid, bodyOf(flags))),
  );
}

async function changeNode(
  cli: Cli,
  { reference, flags }: { reference: string; flags: ChangeFlags },
  change: (client: Client, node: Node) => Promise<Node>,
) {
  const changed = await cli.withClient(flags, async (client) =>
    change(client, await resolveNode(client, reference)),
  );
  if (flags.json) printJson(cli.io, changed);
  else printLines(cli.io.stdout, [`Node ${changed.name} is ${changed.status}.`]);
}

function bodyOf({ reason }: ChangeFlags) {
  return reason ? { reason } : {};
}

interface DrainFlags extends ChangeFlags {
  deadline?: number;
  /** false: --no-wait. */
  wait: boolean;
  timeout?: number;
}

const drainHelp = `
The node takes no new work from now on. Runs that end before the deadline end as ever. Those that are left then are
stopped with their own grace and FAILED with the reason node_drained: a job with --retries, and a PERSISTENT one with
--on-node-lost replace, goes on elsewhere, which uses up no retry; any other has FAILED. Afterwards the node stays
cordoned until "flotilla node uncordon". Exit code 8: the time for waiting is up; the drain goes on by itself.

Examples:
  flotilla node drain gpu-1 --deadline 30m --reason "new disks"
  flotilla node drain gpu-1 --deadline 0s`;

function addDrain(node: Command, cli: Cli) {
  const command = changeCommand(
    node,
    'drain',
    'Empties a node: no new work, and what is left at the deadline is stopped.',
  )
    .option('--deadline <duration>', 'how long runs may go on, 30m for example (default 1h)', durationMs)
    .option('--no-wait', 'do not wait until the node is empty')
    .option('--timeout <duration>', 'give up waiting after this time (default: never)', durationMs)
    .addHelpText('after', drainHelp);
  withApiOptions(command).action((reference: string, flags: DrainFlags) => drain(cli, reference, flags));
}

const pauseMs = 500;

async function drain(cli: Cli, reference: string, flags: DrainFlags) {
  const { io } = cli;
  const node = await untilInterrupted(io, (signal) =>
    cli.withClient(flags, async (client) => {
      const { uuid } = await resolveNode(client, reference);
      const deadline = flags.deadline === undefined ? {} : { deadline_ms: flags.deadline };
      const drained = await client.nodes.drain(uuid, { ...bodyOf(flags), ...deadline });
      return followDrain(cli, { client, node: drained, flags, signal });
    }),
  );
  if (node === null) {
    io.stderr.write('The drain goes on without us; "flotilla node uncordon" ends it.\n');
    cli.exitCode = exitCodes.interrupted;
  } else if (flags.json) printJson(io, node);
}

interface Drain {
  client: Client;
  node: Node;
  flags: DrainFlags;
  signal: AbortSignal;
}

async function followDrain(cli: Cli, { client, node: first, flags, signal }: Drain): Promise<Node> {
  const { io } = cli;
  const startMs = io.nowMs();
  let shown = '';
  const show = (node: Node) => {
    const text = drainText(node);
    if (text === shown) return;
    shown = text;
    const line = `${node.name}  ${formatDuration(io.nowMs() - startMs).padStart(6)}  ${text}`;
    printLines(flags.json ? io.stderr : io.stdout, [line]);
  };
  let node = first;
  show(node);
  while (flags.wait && node.drain !== null) {
    if (flags.timeout !== undefined && io.nowMs() - startMs >= flags.timeout) {
      throw new WaitTimeoutError(
        `Node ${node.name} still holds ${runsText(node.drain.runs_left)}; the drain goes on by itself.`,
      );
    }
    await io.sleep(pauseMs, signal);
    node = await throughRestart({ io, signal }, () => client.nodes.get(node.uuid));
    show(node);
  }
  return node;
}

function drainText({ status, drain: under }: Node): string {
  if (under === null) return status === 'ready' ? 'uncordoned; the drain is over' : `empty; ${status}`;
  const where = status === 'draining' ? '' : ` (${status})`;
  return `draining${where}: ${runsText(under.runs_left)} left, stopped at ${under.deadline_at}`;
}

function runsText(count: number): string {
  return `${count} ${count === 1 ? 'run' : 'runs'}`;
}

interface RemoveFlags extends ChangeFlags {
  force?: true;
}

const removeHelp = `
A node that holds runs is not removed: drain it first. A lost one is removed with --force alone: what it ran has been
given up, but its containers may live, and its agent, which is refused from now on, leaves them as they are. The key of
the node is revoked; its name is free again.

Examples:
  flotilla node remove gpu-1 --reason "sold"
  flotilla node remove gpu-2 --force`;

function addRemove(node: Command, cli: Cli) {
  const command = changeCommand(node, 'remove', 'Takes a node out of the cluster and revokes its key.')
    .option('--force', 'also a lost node, whose containers may still live')
    .addHelpText('after', removeHelp);
  withApiOptions(command).action((reference: string, flags: RemoveFlags) =>
    changeNode(cli, { reference, flags }, (client, { uuid }) =>
      client.nodes.remove(uuid, { ...bodyOf(flags), force: flags.force ?? false }),
    ),
  );
}

interface EventFlags extends ApiFlags {
  limit?: number;
  page?: number;
  all?: true;
}

function addEvents(node: Command, cli: Cli) {
  const command = node
    .command('events')
    .description('Lists what happened to a node, newest first: when, who, why.')
    .argument('<node>', 'uuid or name')
    .option('--limit <n>', 'events on a page, at most 50', integerFrom1)
    .option('--page <n>', 'page, from 1', integerFrom1)
    .option('--all', 'every page')
    .addHelpText('after', '\nExample:\n  flotilla node events gpu-1');
  withApiOptions(command, 'print an array of API objects').action(
    async (reference: string, flags: EventFlags) => {
      const list = await cli.withClient(flags, async (client) => {
        const { uuid } = await resolveNode(client, reference);
        return listPages((query) => client.nodes.events(uuid, query), flags);
      });
      if (flags.json) return printJson(cli.io, list.data);
      printTable(cli.io, eventColumns, list.data);
      printLines(cli.io.stderr, morePagesLine(list, 'events'));
    },
  );
}

const eventColumns: Column<NodeEvent>[] = [
  { header: 'TIME', cell: (event) => event.created_at },
  { header: 'EVENT', cell: (event) => event.kind },
  { header: 'WHO', cell: whoText },
  { header: 'WHY', cell: whyText, isFlexible: true },
];

function whoText({ actor }: NodeEvent): string {
  const { kind, public_key: key, address } = actor as Record<string, unknown>;
  if (kind === 'key') return `key ${key} from ${address}`;
  return String(kind);
}

function whyText({ detail }: NodeEvent): string {
  const { reason } = (detail ?? {}) as Record<string, unknown>;
  return typeof reason === 'string' ? onOneLine(reason) : '';
}
