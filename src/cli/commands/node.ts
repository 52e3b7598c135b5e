// `flotilla node`: registers this machine or another as a node, runs the agent, shows the nodes.
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import type { Node } from '../../protocol/node.ts';
import type { Cli } from '../cli.ts';
import { findConnection, readNodeKey } from '../connection.ts';
import { formatAge } from '../duration.ts';
import { UsageError } from '../errors.ts';
import { parseLabel } from '../job-body.ts';
import { refuseExisting, writeKeyFile } from '../key-file.ts';
import { listPages, morePagesLine } from '../list-pages.ts';
import { gpuLoads, loadSummary, loadText } from '../load-text.ts';
import { type AgentFlags, agentSettings, withAgentOptions } from '../node-options.ts';
import { type ApiFlags, collect, integerFrom1, withApiOptions } from '../options.ts';
import { paintStatus, printJson, printLines, printTable } from '../output.ts';
import { resolveNode } from '../resolve.ts';
import { collectServers, serversOfEnvironment } from '../server-list.ts';
import type { Column } from '../table.ts';
import { pairLines } from '../table.ts';
import { addNodeEpochs } from './node-epochs.ts';
import { addNodeMaintenance } from './node-maintenance.ts';
import { addAcceptRestore } from './node-restore.ts';

export function addNodeCommands(program: Command, cli: Cli) {
  const node = program
    .command('node')
    .summary('machines that run jobs')
    .description('Registers, runs and shows nodes, and takes them out of service.');
  addRegister(node, cli);
  addRun(node, cli);
  addList(node, cli);
  addGet(node, cli);
  addNodeMaintenance(node, cli);
  addNodeEpochs(node, cli);
  addAcceptRestore(node, cli);
}

interface RegisterFlags extends ApiFlags {
  name: string;
  region?: string;
  label?: string[];
  out?: string;
}

function addRegister(node: Command, cli: Cli) {
  const command = node
    .command('register')
    .description('Registers a node and writes its key file, which "flotilla node run" needs on that machine.')
    .requiredOption('--name <name>', 'name of the node: letters, digits and ._-')
    .option('--region <code>', 'region code, eu-north-1 for example')
    .option('--label <key=value>', 'label (repeatable)', collect)
    .option('--out <file>', 'where to write the key (default: NAME-node-key.json)')
    .addHelpText(
      'after',
      '\nExample:\n  flotilla node register --name gpu-1 --region eu-north-1 --label rack=3 --out gpu-1.json',
    );
  withApiOptions(command).action(async (flags: RegisterFlags) => {
    const file = flags.out ?? `${flags.name}-node-key.json`;
    refuseExisting(existsSync(file), file);
    const labels = Object.assign({}, ...(flags.label ?? []).map(parseLabel));
    const connection = await findConnection(cli.io, flags);
    const created = await cli.withClient(flags, (client) =>
      client.nodes.create({
        name: flags.name,
        ...(flags.region ? { region_code: flags.region } : {}),
        ...(flags.label ? { labels } : {}),
      }),
    );
    await writeKeyFile(file, {
      ...created.key,
      url: connection.url,
      node_uuid: created.uuid,
      ...(connection.ca ? { ca: connection.ca } : {}),
    });
    const { key: _key, ...shown } = created;
    if (flags.json) printJson(cli.io, { ...shown, key_file: file });
    else
      printLines(cli.io.stdout, [
        `Node ${created.name} is registered as ${created.uuid}.`,
        `Its key is in ${file}: move it to that machine and run: flotilla node run --node-key ${file}`,
      ]);
  });
}

function addRun(node: Command, cli: Cli) {
  const command = node
    .command('run')
    .description('Runs the agent: this machine runs jobs until Ctrl-C. Containers go on running after that.')
    .option('--node-key <file>', 'key file that "flotilla node register" wrote (FLOTILLA_NODE_KEY_FILE)')
    .option(
      '--server <url>',
      'server to connect to; give several and the agent turns to another when one is away (repeatable, or with commas in FLOTILLA_SERVERS; default: the one in the key file)',
      collectServers,
    )
    .addHelpText(
      'after',
      '\nExamples:\n  flotilla node run --node-key gpu-1.json\n  flotilla node run --node-key gpu-1.json --server https://a.example:7070 --server https://b.example:7070',
    );
  withAgentOptions(command).action(async (flags: AgentFlags & { nodeKey?: string; server?: string[] }) => {
    const file = flags.nodeKey ?? cli.io.env.FLOTILLA_NODE_KEY_FILE;
    if (!file) {
      throw new UsageError(
        'Name the key file of this node with --node-key; "flotilla node register" writes one.',
      );
    }
    const settings = agentSettings(flags);
    requirePublicHost(settings.publicHost);
    const key = await readNodeKey(file);
    const serverUrls = flags.server ?? serversOfEnvironment(cli.io) ?? [key.url];
    cli.exitCode = await cli.roles.nodeRun({ ...settings, key, serverUrls });
  });
}

function requirePublicHost(publicHost: string | null): void {
  if (publicHost !== '') return;
  throw new UsageError('Name the host that clients reach this machine by with --public-host.');
}

interface ListFlags extends ApiFlags {
  limit?: number;
  page?: number;
  all?: true;
}

function addList(node: Command, cli: Cli) {
  const command = node
    .command('list')
    .alias('ls')
    .description('Lists the nodes, newest first.')
    .option('--limit <n>', 'nodes on a page, at most 50', integerFrom1)
    .option('--page <n>', 'page, from 1', integerFrom1)
    .option('--all', 'every page')
    .addHelpText('after', '\nExample:\n  flotilla node list');
  withApiOptions(command, 'print an array of API objects').action(async (flags: ListFlags) => {
    const list = await cli.withClient(flags, (client) =>
      listPages((query) => client.nodes.list(query), flags),
    );
    if (flags.json) return printJson(cli.io, list.data);
    printTable(cli.io, nodeColumns(cli), list.data);
    printLines(cli.io.stderr, morePagesLine(list, 'nodes'));
  });
}

function nodeColumns(cli: Cli): Column<Node>[] {
  const { io } = cli;
  return [
    { header: 'NAME', cell: (node) => node.name, isFlexible: true },
    {
      header: 'STATUS',
      cell: (node) => node.status,
      paint: (text, node) => paintStatus(io, node.status, text),
    },
    { header: 'REGION', cell: (node) => node.region_code ?? '' },
    { header: 'CPU', cell: (node) => String(cpuCount(node)), align: 'right' },
    { header: 'RAM', cell: (node) => `${Math.round(node.ramTotal)} GB`, align: 'right' },
    { header: 'GPUS', cell: gpuSummary, isFlexible: true },
    { header: 'LOAD', cell: (node) => loadSummary(node.latest_hardware_event), align: 'right' },
    { header: 'REP', cell: (node) => String(Math.round(node.reputation)), align: 'right' },
    { header: 'RUNS', cell: (node) => String(node.job_run_count), align: 'right' },
    { header: 'SEEN', cell: (node) => seenAge(io.nowMs(), node), align: 'right' },
    { header: 'UUID', cell: (node) => node.uuid },
  ];
}

function addGet(node: Command, cli: Cli) {
  const command = node
    .command('get')
    .alias('show')
    .description('Shows one node.')
    .argument('<node>', 'uuid or name')
    .addHelpText('after', '\nExample:\n  flotilla node get gpu-1');
  withApiOptions(command).action(async (reference: string, flags: ApiFlags) => {
    const found = await cli.withClient(flags, (client) => resolveNode(client, reference));
    if (flags.json) return printJson(cli.io, found);
    printLines(cli.io.stdout, nodeLines(cli, found));
  });
}

function nodeLines({ io }: Cli, node: Node): string[] {
  const drives = node.hard_drives.map((it) => `${it.available_capacity_gb} of ${it.max_capacity_gb} GB free`);
  const labels = Object.entries(node.labels).map(([key, value]) => `${key}=${value}`);
  const pairs: [string, string | null][] = [
    ['Node', `${node.name} (${node.uuid})`],
    [
      'Status',
      paintStatus(io, node.status, node.status) + (node.status_reason ? `: ${node.status_reason}` : ''),
    ],
    ['Last seen', node.last_seen_at ? `${seenAge(io.nowMs(), node)} ago` : 'never'],
    ['Region', node.region_code],
    ['Labels', labels.join(', ') || null],
    ['CPU', node.cpus.map((cpu) => `${cpu.num_cores} × ${cpu.name}`).join(', ') || null],
    [
      'RAM',
      node.rams.map((ram) => `${ram.memory_gb_available} of ${ram.memory_gb_max} GB free`).join(', ') || null,
    ],
    ['Storage', drives.join(', ') || null],
    ['Load', loadText(node.latest_hardware_event)],
    ['Reputation', `${node.reputation} of 100`],
    ['Runs', String(node.job_run_count)],
    ['Drain', node.drain && `${node.drain.runs_left} left, stopped at ${node.drain.deadline_at}`],
    ['Isolation', node.isolation + noteOf(node, 'isolation_note', ': ')],
    ['GPU driver', noteOf(node, 'gpu_note') || null],
    ['Agent', node.agent_version],
  ];
  const loads = gpuLoads(node.latest_hardware_event);
  const gpus = node.gpus.map((gpu) => {
    const load = loads.get(gpu.uuid) ?? '';
    const words = [gpuState(gpu), gpu.name, `${gpu.vram_gb_max} GB`, gpu.quarantine_reason ?? gpu.uuid, load];
    return `  ${words.filter((word) => word !== '').join('  ')}`;
  });
  return [
    ...pairLines(pairs),
    ...(gpus.length > 0 ? ['GPUs:', ...gpus] : []),
    ...(node.orphans.length > 0 ? ['Containers that the database does not know:'] : []),
    ...node.orphans.map(orphanLine),
  ];
}

function orphanLine(orphan: Node['orphans'][number]): string {
  const end = orphan.removal_at === null ? 'stays until accept-restore' : `removed at ${orphan.removal_at}`;
  return `  ${orphan.state}  run ${orphan.run_uuid}  seen ${orphan.first_seen_at}, ${end}`;
}

/** What the agent could not do or read, in its words. */
function noteOf({ current_hardware }: Node, name: 'isolation_note' | 'gpu_note', before = ''): string {
  const note = current_hardware?.[name];
  return typeof note === 'string' ? before + note : '';
}

function gpuState(gpu: Node['gpus'][number]): string {
  if (gpu.is_quarantined) return 'quarantined';
  return gpu.is_allocated ? 'used' : 'free';
}

function cpuCount(node: Node): number {
  return node.cpus.reduce((sum, cpu) => sum + cpu.num_cores, 0);
}

function gpuSummary(node: Node): string {
  const counts = new Map<string, number>();
  for (const gpu of node.gpus) counts.set(gpu.name, (counts.get(gpu.name) ?? 0) + 1);
  return [...counts].map(([name, count]) => `${count} × ${name}`).join(', ');
}

function seenAge(nowMs: number, node: Node): string {
  return node.last_seen_at ? formatAge(nowMs - Date.parse(node.last_seen_at)) : 'never';
}
