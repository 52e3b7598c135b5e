// `flotilla webhook`: where events are delivered, and what became of the deliveries.
import type { Command } from 'commander';
import type { Webhook, WebhookDelivery } from '../../protocol/webhook.ts';
import type { Cli } from '../cli.ts';
import { listPages, morePagesLine, type PageFlags } from '../list-pages.ts';
import { type ApiFlags, collect, integerFrom1, withApiOptions } from '../options.ts';
import { printJson, printLines, printTable } from '../output.ts';
import type { Column } from '../table.ts';

export function addWebhookCommands(program: Command, cli: Cli) {
  const webhook = program
    .command('webhook')
    .summary('events delivered to your own servers')
    .description('Makes and watches webhooks: signed POSTs of your events to an address of yours.');
  addCreate(webhook, cli);
  addList(webhook, cli);
  addUpdate(webhook, cli);
  addSimple(webhook, cli);
  addDeliveries(webhook, cli);
}

const columns: Column<Webhook>[] = [
  { header: 'UUID', cell: (hook) => hook.uuid },
  { header: 'URL', cell: (hook) => hook.url, isFlexible: true },
  { header: 'KINDS', cell: (hook) => hook.kinds.join(',') || 'all', isFlexible: true },
  { header: 'STATE', cell: stateText, isFlexible: true },
];

const deliveryColumns: Column<WebhookDelivery>[] = [
  { header: 'UUID', cell: (delivery) => delivery.uuid },
  { header: 'EVENT', cell: (delivery) => delivery.kind },
  { header: 'STATUS', cell: (delivery) => delivery.status },
  { header: 'TRIES', cell: (delivery) => String(delivery.attempt_count), align: 'right' },
  { header: 'NEXT', cell: (delivery) => delivery.next_attempt_at ?? '-' },
  { header: 'ERROR', cell: (delivery) => delivery.error ?? '', isFlexible: true },
];

function stateText(hook: Webhook): string {
  if (!hook.is_enabled) return `disabled: ${hook.disabled_reason ?? ''}`;
  return hook.failing_since === null ? 'enabled' : `failing since ${hook.failing_since}`;
}

/** The secret goes to stdout alone, so that a script can keep it. */
function printMade(cli: Cli, hook: Webhook, isJson: boolean) {
  if (isJson) return printJson(cli.io, hook);
  printLines(cli.io.stderr, [`Webhook ${hook.uuid}; its secret, shown this once:`]);
  printLines(cli.io.stdout, [hook.secret ?? '']);
}

function addCreate(webhook: Command, cli: Cli) {
  const command = webhook
    .command('create')
    .description('Makes a webhook and prints the secret that signs its deliveries.')
    .argument('<url>', 'https address that takes the POSTs')
    .option('--kind <kind>', 'only events of this kind (repeatable): running, exited, …', collect)
    .option('--name <name>', 'to know it by')
    .addHelpText('after', '\nExample:\n  flotilla webhook create https://example.com/hook --kind exited');
  type Flags = ApiFlags & { kind?: string[]; name?: string };
  withApiOptions(command).action(async (url: string, flags: Flags) => {
    const body = { url, kinds: flags.kind ?? [], name: flags.name ?? null };
    const made = await cli.withClient(flags, (client) => client.webhooks.create(body));
    printMade(cli, made, flags.json ?? false);
  });
}

function addList(webhook: Command, cli: Cli) {
  const command = webhook
    .command('list')
    .alias('ls')
    .description('Lists your webhooks, newest first.')
    .option('--all', 'every page');
  withApiOptions(command, 'print an array of API objects').action(async (flags: ApiFlags & PageFlags) => {
    const list = await cli.withClient(flags, (client) =>
      listPages((query) => client.webhooks.list(query), flags, {}),
    );
    if (flags.json) return printJson(cli.io, list.data);
    printTable(cli.io, columns, list.data);
    printLines(cli.io.stderr, morePagesLine(list, 'webhooks'));
  });
}

function addUpdate(webhook: Command, cli: Cli) {
  const command = webhook
    .command('update')
    .description('Changes, enables or disables a webhook, or gives it a new secret.')
    .argument('<uuid>', 'of the webhook')
    .option('--target <url>', 'where it delivers to')
    .option('--kind <kind>', 'only events of this kind (repeatable)', collect)
    .option('--enable', 'deliver what happens from now on')
    .option('--disable', 'deliver nothing')
    .option('--rotate-secret', 'sign with a new secret from now on, and print it');
  type Flags = ApiFlags & {
    target?: string;
    kind?: string[];
    enable?: true;
    disable?: true;
    rotateSecret?: true;
  };
  withApiOptions(command).action(async (uuid: string, flags: Flags) => {
    const body = {
      ...(flags.target === undefined ? {} : { url: flags.target }),
      ...(flags.kind === undefined ? {} : { kinds: flags.kind }),
      ...(flags.enable || flags.disable ? { is_enabled: flags.enable === true } : {}),
      ...(flags.rotateSecret ? { rotate_secret: true } : {}),
    };
    const changed = await cli.withClient(flags, (client) => client.webhooks.update(uuid, body));
    if (flags.rotateSecret) return printMade(cli, changed, flags.json ?? false);
    if (flags.json) return printJson(cli.io, changed);
    printTable(cli.io, columns, [changed]);
  });
}

function addSimple(webhook: Command, cli: Cli) {
  const remove = webhook
    .command('delete')
    .alias('rm')
    .description('Deletes a webhook with its deliveries.')
    .argument('<uuid>', 'of the webhook');
  withApiOptions(remove).action(async (uuid: string, flags: ApiFlags) => {
    const deleted = await cli.withClient(flags, (client) => client.webhooks.delete(uuid));
    if (flags.json) return printJson(cli.io, deleted);
    printLines(cli.io.stdout, [`Webhook ${deleted.uuid} is deleted.`]);
  });
  const test = webhook
    .command('test')
    .description('Sends a test event now; "flotilla webhook deliveries" shows what became of it.')
    .argument('<uuid>', 'of the webhook');
  withApiOptions(test).action(async (uuid: string, flags: ApiFlags) => {
    const delivery = await cli.withClient(flags, (client) => client.webhooks.test(uuid));
    if (flags.json) return printJson(cli.io, delivery);
    printLines(cli.io.stdout, [delivery.uuid]);
  });
}

function addDeliveries(webhook: Command, cli: Cli) {
  const list = webhook
    .command('deliveries')
    .description('Lists what was delivered and what was not, newest first.')
    .argument('<uuid>', 'of the webhook')
    .option('--status <status>', 'pending, delivered or failed')
    .option('--limit <n>', 'deliveries on a page, at most 50', integerFrom1)
    .option('--page <n>', 'page, from 1', integerFrom1)
    .option('--all', 'every page');
  type Flags = ApiFlags & PageFlags & { status?: string };
  withApiOptions(list, 'print an array of API objects').action(async (uuid: string, flags: Flags) => {
    const filter = flags.status === undefined ? {} : { status: flags.status };
    const found = await cli.withClient(flags, (client) =>
      listPages((query) => client.webhooks.deliveries(uuid, query), flags, filter),
    );
    if (flags.json) return printJson(cli.io, found.data);
    printTable(cli.io, deliveryColumns, found.data);
    printLines(cli.io.stderr, morePagesLine(found, 'deliveries'));
  });
  const again = webhook
    .command('redeliver')
    .description('Sends a delivery again, under the same delivery id.')
    .argument('<uuid>', 'of the webhook')
    .argument('<delivery>', 'uuid of the delivery');
  withApiOptions(again).action(async (uuid: string, delivery: string, flags: ApiFlags) => {
    const sent = await cli.withClient(flags, (client) => client.webhooks.redeliver(uuid, delivery));
    if (flags.json) return printJson(cli.io, sent);
    printLines(cli.io.stdout, [`Delivery ${sent.uuid} goes out again.`]);
  });
}
