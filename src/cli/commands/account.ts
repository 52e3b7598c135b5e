// `flotilla whoami`, `flotilla account` and `flotilla user`: who this key is, and the people and owners of a cluster.
import { type Command, InvalidArgumentError } from 'commander';
// Types only: the schema library would make every command slower to start.
import type { Account } from '../../protocol/account.ts';
import type { User, UserRole } from '../../protocol/user.ts';
import type { Client } from '../../sdk/client.ts';
import type { Cli } from '../cli.ts';
import { formatAge } from '../duration.ts';
import { listPages, morePagesLine, type PageFlags, withPageOptions } from '../list-pages.ts';
import { type ApiFlags, withApiOptions } from '../options.ts';
import { printJson, printLines, printTable } from '../output.ts';
import { accountGiven, resolveAccount, resolveUser } from '../resolve.ts';
import { type Column, pairLines } from '../table.ts';

export function addAccountCommands(program: Command, cli: Cli) {
  addWhoami(program, cli);
  const account = program
    .command('account')
    .summary('accounts, owners of all else')
    .description('Accounts own jobs, recipes, keys, nodes and credits. The admin of the cluster makes them.');
  addAccountCreate(account, cli);
  addAccountList(account, cli);
  addAccountShow(account, cli);
  const user = program
    .command('user')
    .summary('people of an account and their roles')
    .description('People of an account. A role bounds what every key of the user may do.');
  addUserCreate(user, cli);
  addUserList(user, cli);
  addUserRole(user, cli);
  addUserRemove(user, cli);
}

function addWhoami(program: Command, cli: Cli) {
  const command = program.command('whoami').description('Shows whose key this is, and what it may do.');
  withApiOptions(command).action(async (flags: ApiFlags) => {
    const me = await cli.withClient(flags, (client) => client.users.me());
    if (flags.json) return printJson(cli.io, me);
    printLines(
      cli.io.stdout,
      pairLines([
        ['Account', `${me.account_name} (${me.account_uuid})`],
        ['User', me.email],
        ['Role', me.role],
        ['Key', me.api_key_uuid],
        ['Permissions', me.permissions.join(', ') || 'none'],
      ]),
    );
  });
}

function addAccountCreate(account: Command, cli: Cli) {
  const command = account
    .command('create')
    .description('Makes an account (admin of the cluster).')
    .argument('<name>', 'of the account')
    .addHelpText(
      'after',
      '\nExample:\n  flotilla account create physics\n  flotilla key create --account physics --preset admin --out physics-admin.json',
    );
  withApiOptions(command).action(async (name: string, flags: ApiFlags) => {
    const created = await cli.withClient(flags, (client) => client.accounts.create({ name }));
    if (flags.json) return printJson(cli.io, created);
    printLines(cli.io.stdout, [`Account ${created.name} is ${created.uuid}.`]);
  });
}

function addAccountList(account: Command, cli: Cli) {
  const command = withPageOptions(account.command('list').alias('ls'), 'accounts').description(
    'Lists your account, or all of them for the admin of the cluster.',
  );
  withApiOptions(command, 'print an array of API objects').action(async (flags: ApiFlags & PageFlags) => {
    const found = await cli.withClient(flags, (client) =>
      listPages((query) => client.accounts.list(query), flags),
    );
    if (flags.json) return printJson(cli.io, found.data);
    const nowMs = cli.io.nowMs();
    const columns: Column<Account>[] = [
      { header: 'UUID', cell: (it) => it.uuid },
      { header: 'NAME', cell: (it) => it.name, isFlexible: true },
      { header: 'AGE', cell: (it) => formatAge(nowMs - Date.parse(it.created_at)), align: 'right' },
    ];
    printTable(cli.io, columns, found.data);
    printLines(cli.io.stderr, morePagesLine(found, 'accounts'));
  });
}

function addAccountShow(account: Command, cli: Cli) {
  const command = account
    .command('show')
    .description('Shows an account and its balance.')
    .argument('[account]', 'its name or uuid, or the uuid of one of its users (default: yours)');
  withApiOptions(command).action(async (account: string | undefined, flags: ApiFlags) => {
    const { shown, balance } = await cli.withClient(flags, (client) => showAccount(client, account));
    if (flags.json) return printJson(cli.io, { ...shown, balance });
    printLines(
      cli.io.stdout,
      pairLines([
        ['Account', `${shown.name} (${shown.uuid})`],
        ['Available', `${balance.available_balance.toFixed(2)} ${balance.currency}`],
        ['Created', shown.created_at],
      ]),
    );
  });
}

async function showAccount(client: Client, account: string | undefined) {
  const uuid =
    account === undefined ? (await client.users.me()).account_uuid : await resolveAccount(client, account);
  const balance = await client.ledger.balance(uuid);
  return { shown: await client.accounts.get(balance.account_uuid), balance };
}

interface UserFlags extends ApiFlags {
  role?: UserRole;
  account?: string;
}

const roles: readonly UserRole[] = ['admin', 'consumer', 'operator'];

function roleOf(text: string): UserRole {
  const role = roles.find((it) => it === text);
  if (role === undefined) throw new InvalidArgumentError(`It must be one of ${roles.join(', ')}.`);
  return role;
}

function addUserCreate(user: Command, cli: Cli) {
  const command = user
    .command('create')
    .description('Makes a user; keys for them come from "flotilla key create --user".')
    .argument('<email>', 'of the user')
    .option('--role <role>', 'admin, consumer or operator (default: consumer)', roleOf)
    .option('--account <account>', 'another account: name or uuid (admin of the cluster)')
    .addHelpText('after', '\nExample:\n  flotilla user create ann@example.org --role operator');
  withApiOptions(command).action(async (email: string, flags: UserFlags) => {
    const body = {
      email,
      ...(flags.role ? { role: flags.role } : {}),
    };
    const created = await cli.withClient(flags, async (client) =>
      client.users.create({ ...body, ...(await accountGiven(client, flags.account)) }),
    );
    if (flags.json) return printJson(cli.io, created);
    printLines(cli.io.stdout, [`User ${created.email}, ${created.role}, is ${created.uuid}.`]);
  });
}

function addUserList(user: Command, cli: Cli) {
  const command = withPageOptions(user.command('list').alias('ls'), 'users')
    .description('Lists the users of the account, newest first.')
    .option('--account <account>', 'of another account: name or uuid (admin of the cluster)');
  withApiOptions(command, 'print an array of API objects').action(async (flags: UserFlags & PageFlags) => {
    const found = await cli.withClient(flags, async (client) =>
      listPages((query) => client.users.list(query), flags, await accountGiven(client, flags.account)),
    );
    if (flags.json) return printJson(cli.io, found.data);
    const nowMs = cli.io.nowMs();
    const columns: Column<User>[] = [
      { header: 'UUID', cell: (it) => it.uuid },
      { header: 'EMAIL', cell: (it) => it.email, isFlexible: true },
      { header: 'ROLE', cell: (it) => (it.removed_at ? 'removed' : it.role) },
      { header: 'AGE', cell: (it) => formatAge(nowMs - Date.parse(it.created_at)), align: 'right' },
    ];
    printTable(cli.io, columns, found.data);
    printLines(cli.io.stderr, morePagesLine(found, 'users'));
  });
}

function addUserRole(user: Command, cli: Cli) {
  const command = user
    .command('role')
    .description('Changes the role; it binds every key of the user at once.')
    .argument('<user>', 'uuid or e-mail address')
    .argument('<role>', 'admin, consumer or operator', roleOf);
  withApiOptions(command).action(async (reference: string, role: UserRole, flags: ApiFlags) => {
    const changed = await cli.withClient(flags, async (client) =>
      client.users.update(await resolveUser(client, reference), { role }),
    );
    if (flags.json) return printJson(cli.io, changed);
    printLines(cli.io.stdout, [`User ${changed.email} is ${changed.role} now.`]);
  });
}

function addUserRemove(user: Command, cli: Cli) {
  const command = user
    .command('remove')
    .description('Removes a user and revokes all their keys, at once and for ever.')
    .argument('<user>', 'uuid or e-mail address');
  withApiOptions(command).action(async (reference: string, flags: ApiFlags) => {
    const removed = await cli.withClient(flags, async (client) =>
      client.users.remove(await resolveUser(client, reference)),
    );
    if (flags.json) return printJson(cli.io, removed);
    printLines(cli.io.stdout, [`User ${removed.email} is removed, and their keys are revoked.`]);
  });
}
