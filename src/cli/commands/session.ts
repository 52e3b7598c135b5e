// `flotilla session`: who is signed in to the account, and the end of a session.
import type { Command } from 'commander';
// Types only: the schema library would make every command slower to start.
import type { Session } from '../../protocol/sign-in.ts';
import type { Cli } from '../cli.ts';
import { formatAge } from '../duration.ts';
import { listPages, morePagesLine, type PageFlags } from '../list-pages.ts';
import { type ApiFlags, integerFrom1, withApiOptions } from '../options.ts';
import { printJson, printLines, printTable } from '../output.ts';
import type { Column } from '../table.ts';

export function addSessionCommands(program: Command, cli: Cli) {
  const session = program
    .command('session')
    .summary('who is signed in')
    .description('Lists and ends sessions of the account: sign-ins with a key or by OpenID Connect.');
  const list = session
    .command('list')
    .alias('ls')
    .description('Lists sessions, newest first; those that ended for a day.')
    .option('--limit <n>', 'sessions on a page, at most 50', integerFrom1)
    .option('--page <n>', 'page, from 1', integerFrom1)
    .option('--all', 'every page')
    .addHelpText('after', '\nExample:\n  flotilla session list --all');
  withApiOptions(list, 'print an array of API objects').action(async (flags: ApiFlags & PageFlags) => {
    const page = await cli.withClient(flags, (client) =>
      listPages((query) => client.sessions.list(query), flags),
    );
    if (flags.json) return printJson(cli.io, page.data);
    printTable(cli.io, columnsAt(cli.io.nowMs()), page.data);
    printLines(cli.io.stderr, morePagesLine(page, 'sessions'));
  });
  const end = session
    .command('revoke')
    .description('Ends a session at once, with every token of it.')
    .argument('<session>', 'uuid, see "flotilla session list"')
    .addHelpText('after', '\nExample:\n  flotilla session revoke 019582a6-27fc-731d-8000-000000000000');
  withApiOptions(end).action(async (uuid: string, flags: ApiFlags) => {
    const ended = await cli.withClient(flags, (client) => client.sessions.revoke(uuid));
    if (flags.json) return printJson(cli.io, ended);
    printLines(cli.io.stdout, [`Session ${ended.uuid} is ended.`]);
  });
}

function columnsAt(nowMs: number): Column<Session>[] {
  return [
    { header: 'UUID', cell: (session) => session.uuid },
    { header: 'WHO', cell: whoOf, isFlexible: true },
    { header: 'FROM', cell: (session) => session.address },
    { header: 'STATE', cell: (session) => stateOf(session, nowMs) },
    {
      header: 'AGE',
      cell: (session) => formatAge(nowMs - Date.parse(session.created_at)),
      align: 'right',
    },
  ];
}

function whoOf(session: Session): string {
  if (session.api_key_uuid !== null) return `key ${session.api_key_uuid}`;
  return session.email ?? `${session.subject} at ${session.issuer}`;
}

function stateOf(session: Session, nowMs: number): string {
  if (session.revoked_at !== null) return 'ended';
  const leftMs = Date.parse(session.expires_at) - nowMs;
  return leftMs > 0 ? `valid ${formatAge(leftMs)}` : 'expired';
}
