// `flotilla audit` and `flotilla rate-limit`: who changed which rights, whether that log holds, and how much keys may send.
import { type Command, InvalidArgumentError } from 'commander';
import type { AuditEntry, AuditVerification } from '../../protocol/audit.ts';
import type { Cli } from '../cli.ts';
import { formatAge } from '../duration.ts';
import { listPages, morePagesLine, type PageFlags, withPageOptions } from '../list-pages.ts';
import { type ApiFlags, numberFrom0, withApiOptions } from '../options.ts';
import { printJson, printLines, printTable } from '../output.ts';
import { accountGiven } from '../resolve.ts';
import { type Column, pairLines } from '../table.ts';

export function addAuditCommands(program: Command, cli: Cli) {
  const audit = program
    .command('audit')
    .summary('every change of rights')
    .description(
      'Changes of keys, users, roles, accounts, credits and settings; each entry holds the last one’s hash.',
    );
  addList(audit, cli);
  addVerify(audit, cli);
  addRateLimit(program, cli);
}

interface ListFlags extends ApiFlags, PageFlags {
  action?: string;
  subject?: string;
  account?: string;
}

function addList(audit: Command, cli: Cli) {
  const command = withPageOptions(audit.command('list').alias('ls'), 'entries')
    .description('Lists changes of rights, newest first.')
    .option('--action <action>', 'of this kind, key_created for example (several with commas)')
    .option('--subject <uuid>', 'of this key, user, account or node')
    .option('--account <account>', 'of this account: name or uuid (admin of the cluster)')
    .addHelpText('after', '\nExample:\n  flotilla audit list --action key_created,key_rotated --all');
  withApiOptions(command, 'print an array of API objects').action(async (flags: ListFlags) => {
    const given = {
      ...(flags.action ? { action: flags.action.split(',') } : {}),
      ...(flags.subject ? { subject_uuid: flags.subject } : {}),
    };
    const found = await cli.withClient(flags, async (client) => {
      const filter = { ...given, ...(await accountGiven(client, flags.account)) };
      return listPages((query) => client.audit.list(query), flags, filter);
    });
    if (flags.json) return printJson(cli.io, found.data);
    printTable(cli.io, entryColumns(cli.io.nowMs()), found.data);
    printLines(cli.io.stderr, morePagesLine(found, 'entries'));
  });
}

function entryColumns(nowMs: number): Column<AuditEntry>[] {
  return [
    { header: 'NO', cell: (it) => String(it.sequence), align: 'right' },
    { header: 'AGE', cell: (it) => formatAge(nowMs - Date.parse(it.created_at)), align: 'right' },
    { header: 'ACTION', cell: (it) => it.action },
    { header: 'BY', cell: (it) => actorText(it), isFlexible: true },
    { header: 'SUBJECT', cell: (it) => `${it.subject_kind} ${it.subject_uuid ?? ''}`.trim() },
    { header: 'DETAIL', cell: (it) => JSON.stringify(it.detail), isFlexible: true },
  ];
}

function actorText({ actor }: AuditEntry): string {
  const { kind, public_key: key, address } = actor;
  return [key ?? kind, address].filter((part) => typeof part === 'string').join(' from ');
}

const faults: Record<AuditVerification['wrong_entries'][number]['fault'], string> = {
  changed: 'is not as it was written',
  missing: 'is missing',
  unlinked: 'does not follow the one before it',
  head: 'is not the end that was written last',
};

/** Exit code 1 when the log is wrong, for cron. */
function addVerify(audit: Command, cli: Cli) {
  const command = audit
    .command('verify')
    .description(
      'Computes every hash of the log again (admin of the cluster). Exit code 1 when one is wrong.',
    )
    .option('--head <hash>', 'what the log ended with when you looked last: it must still be in it')
    .addHelpText('after', '\nExample:\n  flotilla audit verify --json');
  withApiOptions(command).action(async (flags: ApiFlags & { head?: string }) => {
    const { found, hasHead } = await cli.withClient(flags, async (client) => {
      const { head } = flags;
      const log = head ? await listPages((query) => client.audit.list(query), { all: true }) : null;
      return {
        found: await client.audit.verify(),
        hasHead: log === null || log.data.some(({ hash }) => hash === head),
      };
    });
    if (!found.is_right || !hasHead) cli.exitCode = 1;
    if (flags.json) return printJson(cli.io, found);
    printLines(
      cli.io.stdout,
      pairLines([
        ['Audit log', found.is_right && hasHead ? 'right' : 'WRONG'],
        ['Entries', String(found.entry_count)],
        ['Head', found.head_hash],
      ]),
    );
    printLines(
      cli.io.stdout,
      found.wrong_entries.map(({ sequence, fault }) => `Entry ${sequence} ${faults[fault]}.`),
    );
    if (!hasHead)
      printLines(cli.io.stdout, ['The given head is not in the log: it was rewritten as a whole.']);
  });
}

function addRateLimit(program: Command, cli: Cli) {
  const command = program
    .command('rate-limit')
    .summary('requests a second that a key may send')
    .description(
      'Shows or sets how many requests a second a key may send to each server (admin of the cluster).',
    )
    .argument('[requests]', 'a second, or "default"', rateOf);
  withApiOptions(command).action(async (rate: number | null | undefined, flags: ApiFlags) => {
    const setting = await cli.withClient(flags, (client) =>
      rate === undefined ? client.rateLimit.get() : client.rateLimit.set({ requests_per_second: rate }),
    );
    if (flags.json) return printJson(cli.io, setting);
    printLines(cli.io.stdout, [
      `Keys without a limit of their own: ${setting.requests_per_second} requests a second.`,
    ]);
  });
}

function rateOf(text: string): number | null {
  if (text === 'default') return null;
  const rate = numberFrom0(text);
  if (rate === 0) throw new InvalidArgumentError('It must be more than 0.');
  return rate;
}
