// `flotilla key`: API keys: made once, shown once, listed, revoked; and a new admin key when all are lost.
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
// Types only: the schema library would make every command slower to start.
import type { ApiKey, CreateApiKeyBody, CreatedApiKey, UpdateApiKeyBody } from '../../protocol/api-key.ts';
import type { Cli } from '../cli.ts';
import { defaultDataDirectory, findConnection } from '../connection.ts';
import { databaseOptions } from '../database-options.ts';
import { formatAge } from '../duration.ts';
import { refuseExisting, writeKeyFile } from '../key-file.ts';
import { listPages, morePagesLine, type PageFlags, withPageOptions } from '../list-pages.ts';
import { type ApiFlags, collect, durationMs, numberFrom0, withApiOptions } from '../options.ts';
import { printJson, printLines, printTable } from '../output.ts';
import { accountGiven, resolveKey, resolveUser } from '../resolve.ts';
import { type Column, pairLines } from '../table.ts';

export function addKeyCommands(program: Command, cli: Cli) {
  const key = program
    .command('key')
    .summary('API keys')
    .description('Makes, lists, revokes and recovers API keys.');
  addCreate(key, cli);
  addList(key, cli);
  addUpdate(key, cli);
  addRotate(key, cli);
  addRevoke(key, cli);
  addRecover(key, cli);
}

interface CreateFlags extends UpdateFlags {
  preset?: CreateApiKeyBody['preset'];
  user?: string;
  account?: string;
  out?: string;
}

function addCreate(key: Command, cli: Cli) {
  const command = key
    .command('create')
    .description('Makes a key. Its secret is shown this once.')
    .option('--name <name>', 'what it is for')
    .option('--preset <preset>', 'what it may do: admin, consumer or operator')
    .option('--permission <permissions...>', "instead of the preset's, jobs:read for example")
    .option('--expires-in <duration>', 'how long it works, 30d for example (default: for ever)', durationMs)
    .option('--allow-ip <cidr>', 'address it may be used from (repeatable; default: any)', collect)
    .option('--rate-limit <n>', 'requests a second (default: the cluster’s)', numberFrom0)
    .option('--user <user>', 'belongs to this user, whose role bounds it: uuid or e-mail address')
    .option('--account <account>', 'belongs to another account: name or uuid (admin of the cluster)')
    .option('--out <file>', 'write it to a key file (mode 0600) instead of showing the secret')
    .addHelpText(
      'after',
      '\nExamples:\n  flotilla key create --name ci --preset consumer --expires-in 90d\n  flotilla key create --preset admin --out ~/.flotilla/other-admin.json',
    );
  withApiOptions(command).action((flags: CreateFlags) => createKey(cli, flags));
}

async function createKey(cli: Cli, flags: CreateFlags) {
  const { io } = cli;
  if (flags.out) refuseExisting(existsSync(flags.out), flags.out);
  const created = await cli.withClient(flags, async (client) => {
    const user = flags.user ? { user_uuid: await resolveUser(client, flags.user) } : {};
    const account = await accountGiven(client, flags.account);
    const preset = flags.preset ? { preset: flags.preset } : {};
    return client.keys.create({ ...bodyOf(io.nowMs(), flags), ...preset, ...user, ...account });
  });
  await showSecret(cli, flags, created);
}

/** On the terminal or in a file, this once. */
async function showSecret({ io }: Cli, flags: ApiFlags & { out?: string }, created: CreatedApiKey) {
  const { secret_key: secret, ...shown } = created;
  const { url, ca } = await findConnection(io, flags);
  if (flags.out) {
    await writeKeyFile(flags.out, {
      public_key: created.public_key,
      secret_key: secret,
      url,
      ...(ca ? { ca } : {}),
    });
  }
  if (flags.json) return printJson(io, flags.out ? shown : created);
  const pairs: [string, string | null][] = [
    ['Key', created.uuid],
    ['public_key', created.public_key],
    ['secret_key', flags.out ? null : secret],
    ['Key file', flags.out ?? null],
  ];
  printLines(io.stdout, pairLines(pairs));
  if (!flags.out) printLines(io.stderr, ['Keep the secret now: it is not shown again.']);
}

function bodyOf(nowMs: number, flags: UpdateFlags) {
  return {
    ...(flags.name ? { name: flags.name } : {}),
    ...(flags.permission ? { permissions: flags.permission } : {}),
    ...(flags.expiresIn ? { expires_at: new Date(nowMs + flags.expiresIn).toISOString() } : {}),
    ...(flags.allowIp ? { allowed_ips: flags.allowIp } : {}),
    ...(flags.rateLimit ? { rate_limit_per_second: flags.rateLimit } : {}),
  };
}

function addList(key: Command, cli: Cli) {
  const command = withPageOptions(key.command('list').alias('ls'), 'keys')
    .description('Lists the keys, newest first, without secrets.')
    .addHelpText('after', '\nExample:\n  flotilla key list --all');
  withApiOptions(command, 'print an array of API objects').action(async (flags: ApiFlags & PageFlags) => {
    const list = await cli.withClient(flags, (client) =>
      listPages((query) => client.keys.list(query), flags),
    );
    if (flags.json) return printJson(cli.io, list.data);
    printTable(cli.io, keyColumns(cli.io.nowMs()), list.data);
    printLines(cli.io.stderr, morePagesLine(list, 'keys'));
  });
}

function keyColumns(nowMs: number): Column<ApiKey>[] {
  return [
    { header: 'UUID', cell: (key) => key.uuid },
    { header: 'NAME', cell: (key) => key.name, isFlexible: true },
    { header: 'PRESET', cell: (key) => key.preset },
    { header: 'STATE', cell: (key) => stateOf(key, nowMs) },
    { header: 'AGE', cell: (key) => formatAge(nowMs - Date.parse(key.created_at)), align: 'right' },
    { header: 'PUBLIC KEY', cell: (key) => key.public_key, isFlexible: true },
  ];
}

function stateOf(key: ApiKey, nowMs: number): string {
  if (key.revoked_at) return 'revoked';
  if (!key.expires_at) return 'valid';
  const leftMs = Date.parse(key.expires_at) - nowMs;
  return leftMs > 0 ? `valid ${formatAge(leftMs)}` : 'expired';
}

interface UpdateFlags extends ApiFlags {
  name?: string;
  permission?: UpdateApiKeyBody['permissions'];
  expiresIn?: number;
  allowIp?: string[];
  rateLimit?: number;
}

function addUpdate(key: Command, cli: Cli) {
  const command = key
    .command('update')
    .description('Changes what a key may do; it holds at once.')
    .argument('<key>', 'uuid or public key, see "flotilla key list"')
    .option('--name <name>', 'what it is for')
    .option('--permission <permissions...>', 'all that it may do from now on')
    .option('--expires-in <duration>', 'how long it works from now on', durationMs)
    .option('--allow-ip <cidr>', 'the only address it may be used from (repeatable)', collect)
    .option('--rate-limit <n>', 'requests a second', numberFrom0)
    .addHelpText('after', '\nExample:\n  flotilla key update UUID --allow-ip 203.0.113.0/24');
  withApiOptions(command).action(async (reference: string, flags: UpdateFlags) => {
    const changed = await cli.withClient(flags, async (client) =>
      client.keys.update(await resolveKey(client, reference), bodyOf(cli.io.nowMs(), flags)),
    );
    if (flags.json) return printJson(cli.io, changed);
    printLines(cli.io.stdout, [`Key ${changed.uuid} may: ${changed.permissions.join(', ') || 'nothing'}.`]);
  });
}

function addRotate(key: Command, cli: Cli) {
  const command = key
    .command('rotate')
    .description('Gives a key a new secret, shown this once; its public key stays.')
    .argument('<key>', 'uuid or public key, see "flotilla key list"')
    .option('--overlap <duration>', 'how long the old secret still works (default: not at all)', durationMs)
    .option('--out <file>', 'write it to a key file (mode 0600) instead of showing the secret')
    .addHelpText('after', '\nExample:\n  flotilla key rotate UUID --overlap 1h --out ci-key.json');
  withApiOptions(command).action(
    async (reference: string, flags: ApiFlags & { overlap?: number; out?: string }) => {
      if (flags.out) refuseExisting(existsSync(flags.out), flags.out);
      const body = flags.overlap ? { overlap_ms: flags.overlap } : {};
      const rotated = await cli.withClient(flags, async (client) =>
        client.keys.rotate(await resolveKey(client, reference), body),
      );
      await showSecret(cli, flags, rotated);
    },
  );
}

function addRevoke(key: Command, cli: Cli) {
  const command = key
    .command('revoke')
    .description('Revokes a key at once and for ever.')
    .argument('<key>', 'uuid or public key, see "flotilla key list"')
    .addHelpText('after', '\nExample:\n  flotilla key revoke 019582a6-27fc-731d-8000-000000000000');
  withApiOptions(command).action(async (reference: string, flags: ApiFlags) => {
    const revoked = await cli.withClient(flags, async (client) =>
      client.keys.revoke(await resolveKey(client, reference)),
    );
    if (flags.json) return printJson(cli.io, revoked);
    printLines(cli.io.stdout, [`Key ${revoked.uuid} is revoked.`]);
  });
}

function addRecover(key: Command, cli: Cli) {
  key
    .command('recover')
    .description('Makes a new admin key on the machine that holds the data, without asking the server.')
    .option('--data-dir <folder>', 'data directory of the server (FLOTILLA_DATA_DIR)')
    .addHelpText('after', '\nExample:\n  flotilla key recover --data-dir /var/lib/flotilla')
    .action(async (flags: { dataDir?: string }) => {
      const recovered = await cli.roles.keyRecover({
        dataDirectory: flags.dataDir ?? defaultDataDirectory(cli.io),
        ...databaseOptions(cli.io),
      });
      const pairs: [string, string | null][] = [
        ['public_key', recovered.publicKey],
        ['secret_key', recovered.keyFile ? null : recovered.secretKey],
        ['Key file', recovered.keyFile],
      ];
      printLines(cli.io.stdout, pairLines(pairs));
    });
}
