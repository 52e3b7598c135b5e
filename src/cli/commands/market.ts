// `flotilla gpu`, `flotilla offer` and `flotilla ledger`: GPU models and prices, what could be had now, and money.
import type { Command } from 'commander';
import type { GpuRegistryEntry } from '../../protocol/gpu-registry.ts';
import type { LedgerTransaction } from '../../protocol/ledger.ts';
import type { Offer } from '../../protocol/offer.ts';
import type { Cli } from '../cli.ts';
import { formatAge } from '../duration.ts';
import { listPages, morePagesLine, type PageFlags, withPageOptions } from '../list-pages.ts';
import { type ApiFlags, integerFrom1, numberFrom0, withApiOptions } from '../options.ts';
import { printJson, printLines, printTable } from '../output.ts';
import { resolveAccount } from '../resolve.ts';
import { type Column, pairLines } from '../table.ts';
import { addBilling } from './billing.ts';

export function addMarketCommands(program: Command, cli: Cli) {
  addGpu(program, cli);
  addOffer(program, cli);
  addLedger(program, cli);
}

const usd = (amount: number | null) => (amount === null ? '-' : amount.toFixed(amount < 0.1 ? 4 : 2));

const gpuColumns: Column<GpuRegistryEntry>[] = [
  { header: 'UUID', cell: (gpu) => gpu.uuid },
  { header: 'NAME', cell: (gpu) => gpu.name, isFlexible: true },
  { header: 'VRAM GB', cell: (gpu) => String(gpu.vram_gb), align: 'right' },
  { header: 'USD/H', cell: (gpu) => usd(gpu.hourly_rate_usd), align: 'right' },
  { header: 'FREE', cell: (gpu) => `${gpu.available_count}/${gpu.total_count}`, align: 'right' },
];

function addGpu(program: Command, cli: Cli) {
  const gpu = program
    .command('gpu')
    .summary('GPU models and prices')
    .description('GPU models and their prices.');
  const list = withPageOptions(gpu.command('list').alias('ls'), 'models')
    .description('Lists the known GPU models with VRAM, price and how many are free.')
    .option('--available', 'models with a free card only')
    .option('--min-vram <gb>', 'with at least so much VRAM', numberFrom0)
    .option('--name <text>', 'with this in the name')
    .addHelpText('after', '\nExample:\n  flotilla gpu list --available --min-vram 24');
  type Flags = ApiFlags & PageFlags & { available?: true; minVram?: number; name?: string };
  withApiOptions(list, 'print an array of API objects').action(async (flags: Flags) => {
    const filter = {
      ...(flags.available ? { only_available: 'true' } : {}),
      ...(flags.minVram === undefined ? {} : { min_vram_gb: String(flags.minVram) }),
      ...(flags.name ? { name: flags.name } : {}),
    };
    const found = await cli.withClient(flags, (client) =>
      listPages((query) => client.gpus.list(query), flags, filter),
    );
    if (flags.json) return printJson(cli.io, found.data);
    printTable(cli.io, gpuColumns, found.data);
    printLines(cli.io.stderr, morePagesLine(found, 'models'));
  });
  const price = gpu
    .command('price')
    .description('Sets what a card of a model costs an hour (admin of the cluster). Runs keep their price.')
    .argument('<uuid>', 'of the model, see "flotilla gpu list"')
    .argument('<usd>', 'US dollars an hour', numberFrom0);
  withApiOptions(price).action(async (uuid: string, amount: number, flags: ApiFlags) => {
    const entry = await cli.withClient(flags, (client) =>
      client.gpus.update(uuid, { hourly_rate_usd: amount }),
    );
    if (flags.json) return printJson(cli.io, entry);
    printLines(cli.io.stdout, [`${entry.name}: ${usd(entry.hourly_rate_usd)} USD an hour.`]);
  });
}

const offerColumns: Column<Offer>[] = [
  { header: 'GPU', cell: ({ hardware_summary: it }) => it.gpu_model_label ?? 'none', isFlexible: true },
  { header: 'COUNT', cell: ({ hardware_summary: it }) => String(it.gpu_count), align: 'right' },
  { header: 'VRAM GiB', cell: ({ hardware_summary: it }) => String(it.min_gpu_vram_gib), align: 'right' },
  { header: 'CPUS', cell: ({ hardware_summary: it }) => String(it.cpu_cores), align: 'right' },
  { header: 'RAM GiB', cell: ({ hardware_summary: it }) => String(it.ram_gib), align: 'right' },
  { header: 'USD/H', cell: ({ pricing }) => usd(pricing.hourly_rate_usd), align: 'right' },
  { header: 'REGION', cell: (offer) => offer.region_code ?? '-' },
  { header: 'NODE', cell: ({ offer_id: id }) => id.slice(0, 36) },
];

function addOffer(program: Command, cli: Cli) {
  const command = withPageOptions(
    program.command('offers').summary('what could be had right now, and its price'),
    'offers',
  )
    .description('Lists what could be had right now, cheapest first.')
    .option('--gpus <n>', 'price for so many cards', integerFrom1)
    .option('--gpu <name>', 'cards of this model, RTX 4090 for example')
    .option('--min-vram <gb>', 'cards with at least so much VRAM', numberFrom0)
    .addHelpText('after', '\nExample:\n  flotilla offers --gpus 1 --min-vram 24');
  type Flags = ApiFlags & PageFlags & { gpus?: number; gpu?: string; minVram?: number };
  withApiOptions(command, 'print an array of API objects').action(async (flags: Flags) => {
    const { all, ...page } = flags;
    const filter = {
      ...(flags.gpus === undefined ? {} : { gpu_count: String(flags.gpus) }),
      ...(flags.gpu ? { gpu_name: flags.gpu } : {}),
      ...(flags.minVram === undefined ? {} : { min_vram_gb: String(flags.minVram) }),
    };
    const found = await cli.withClient(flags, (client) =>
      client.gpus.offers({
        filter,
        limit: all ? 50 : (page.limit ?? 20),
        ...(page.page ? { page: page.page } : {}),
      }),
    );
    if (flags.json) return printJson(cli.io, found.data);
    printTable(cli.io, offerColumns, found.data);
    printLines(cli.io.stderr, morePagesLine(found, 'offers'));
  });
}

function addLedger(program: Command, cli: Cli) {
  const ledger = program
    .command('ledger')
    .summary('usage and credits')
    .description('Usage, credits, and the check that they are what the runs say.');
  const list = withPageOptions(ledger.command('list').alias('ls'), 'transactions').description(
    'Lists the account’s transactions, newest first.',
  );
  withApiOptions(list, 'print an array of API objects').action(async (flags: ApiFlags & PageFlags) => {
    const found = await cli.withClient(flags, (client) =>
      listPages((query) => client.ledger.transactions(query), flags),
    );
    if (flags.json) return printJson(cli.io, found.data);
    printTable(cli.io, transactionColumns(cli.io.nowMs()), found.data);
    printLines(cli.io.stderr, morePagesLine(found, 'transactions'));
  });
  const credit = ledger
    .command('credit')
    .description('Gives an account credits (admin of the cluster); a negative amount takes them back.')
    .argument('<account>', 'name or uuid')
    .argument('<usd>', 'US dollars', Number)
    .option('--description <text>', 'what for');
  withApiOptions(credit).action(
    async (account: string, amount: number, flags: ApiFlags & { description?: string }) => {
      const { description } = flags;
      const body = { amount_usd: amount, ...(description ? { description } : {}) };
      const posted = await cli.withClient(flags, async (client) =>
        client.ledger.credit(await resolveAccount(client, account), body),
      );
      if (flags.json) return printJson(cli.io, posted);
      printLines(cli.io.stdout, [`Account ${account} has ${usd(posted.balance_usd)} USD now.`]);
    },
  );
  addVerify(ledger, cli);
  addBilling(ledger, cli);
}

function transactionColumns(nowMs: number): Column<LedgerTransaction>[] {
  return [
    { header: 'AGE', cell: (it) => formatAge(nowMs - Date.parse(it.created_at)), align: 'right' },
    { header: 'KIND', cell: (it) => it.kind },
    { header: 'USD', cell: (it) => it.amount_usd.toFixed(6), align: 'right' },
    { header: 'BALANCE', cell: (it) => it.balance_usd.toFixed(2), align: 'right' },
    { header: 'JOB', cell: (it) => it.job_uuid ?? '-' },
    { header: 'DESCRIPTION', cell: (it) => it.description, isFlexible: true },
  ];
}

/** Exit code 1 when the ledger is wrong, for cron. */
function addVerify(ledger: Command, cli: Cli) {
  const command = ledger
    .command('verify')
    .description('Computes the whole ledger again from the runs, and compares (admin of the cluster).');
  withApiOptions(command).action(async (flags: ApiFlags) => {
    const found = await cli.withClient(flags, (client) => client.ledger.verify());
    if (!found.is_right) cli.exitCode = 1;
    if (flags.json) return printJson(cli.io, found);
    printLines(
      cli.io.stdout,
      pairLines([
        ['Ledger', found.is_right ? 'right' : 'WRONG'],
        ['Runs computed', String(found.run_count)],
        ['Wrong runs', String(found.wrong_runs.length)],
        ['Wrong accounts', String(found.wrong_accounts.length)],
        ['Wrong transactions', String(found.wrong_transactions.length)],
      ]),
    );
  });
}
