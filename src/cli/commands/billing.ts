// `flotilla ledger balance`, `prepaid` and `billing`: what is left, who pays in advance, what nodes earn.
import type { Command } from 'commander';
import type { BillingBody, BillingSettings } from '../../protocol/billing.ts';
import type { Balance } from '../../protocol/ledger.ts';
import type { Cli } from '../cli.ts';
import { UsageError } from '../errors.ts';
import { type ApiFlags, numberFrom0, withApiOptions } from '../options.ts';
import { printJson, printLines } from '../output.ts';
import { resolveAccount } from '../resolve.ts';
import { pairLines } from '../table.ts';

const choices = { on: true, off: false, default: null };
type Choice = keyof typeof choices;

export function addBilling(ledger: Command, cli: Cli) {
  const balance = ledger
    .command('balance')
    .description('Shows what an account has left, and how long that lasts.')
    .argument('<account>', 'name or uuid');
  withApiOptions(balance).action(async (account: string, flags: ApiFlags) => {
    const found = await cli.withClient(flags, async (client) =>
      client.ledger.balance(await resolveAccount(client, account)),
    );
    printBalance(cli, found, flags);
  });
  const prepaid = ledger
    .command('prepaid')
    .description('Sets whether an account pays in advance (admin of the cluster).')
    .argument('<account>', 'name or uuid')
    .argument('<choice>', "on, off, or default for the cluster's setting");
  withApiOptions(prepaid).action(async (account: string, choice: string, flags: ApiFlags) => {
    if (!isChoice(choice)) throw new UsageError(`"${choice}" is none of on, off and default.`);
    const body = { prepaid: choices[choice] };
    const found = await cli.withClient(flags, async (client) =>
      client.ledger.setPrepaid(await resolveAccount(client, account), body),
    );
    printBalance(cli, found, flags);
  });
  addSettings(ledger, cli);
}

function isChoice(text: string): text is Choice {
  return text in choices;
}

function printBalance(cli: Cli, found: Balance, flags: ApiFlags) {
  if (flags.json) return printJson(cli.io, found);
  const lines = pairLines([
    ['Available', `${found.available_balance.toFixed(6)} USD`],
    ['Billed balance', `${found.balance_usd.toFixed(6)} USD`],
    ['Not billed yet', `${found.accrued_usd.toFixed(6)} USD`],
    ['Rate at present', `${found.hourly_rate_usd} USD an hour`],
    ['Pays in advance', found.prepaid ? 'yes' : 'no'],
    ['Lasts', found.hours_left === null ? null : `${found.hours_left.toFixed(1)} hours`],
  ]);
  printLines(cli.io.stdout, lines);
}

function addSettings(ledger: Command, cli: Cli) {
  const command = ledger
    .command('billing')
    .description('Shows the settings of billing, or sets those given (admin of the cluster).')
    .option('--prepaid <choice>', 'on or off: accounts pay in advance')
    .option('--node-available <usd>', 'what a node earns an hour when it could take work', numberFrom0)
    .option('--node-prepared <usd>', 'while it fetches images and volumes', numberFrom0)
    .option('--node-worked <usd>', 'while a container runs on it', numberFrom0);
  type Flags = ApiFlags & {
    prepaid?: string;
    nodeAvailable?: number;
    nodePrepared?: number;
    nodeWorked?: number;
  };
  withApiOptions(command).action(async (flags: Flags) => {
    const body: BillingBody = {
      ...(flags.prepaid === undefined ? {} : { prepaid: isOn(flags.prepaid) }),
      ...(flags.nodeAvailable === undefined ? {} : { node_available_usd: flags.nodeAvailable }),
      ...(flags.nodePrepared === undefined ? {} : { node_prepared_usd: flags.nodePrepared }),
      ...(flags.nodeWorked === undefined ? {} : { node_worked_usd: flags.nodeWorked }),
    };
    const isChange = Object.keys(body).length > 0;
    const found = await cli.withClient(flags, (client) =>
      isChange ? client.ledger.setBilling(body) : client.ledger.billing(),
    );
    if (flags.json) return printJson(cli.io, found);
    printLines(cli.io.stdout, settingLines(found));
  });
}

function isOn(text: string): boolean {
  if (text !== 'on' && text !== 'off') throw new UsageError(`--prepaid is on or off, not "${text}".`);
  return text === 'on';
}

function settingLines(found: BillingSettings): string[] {
  return pairLines([
    ['Accounts pay in advance', found.prepaid ? 'yes' : 'no'],
    ['Node available', `${found.node_available_usd} USD an hour`],
    ['Node preparing', `${found.node_prepared_usd} USD an hour`],
    ['Node working', `${found.node_worked_usd} USD an hour`],
  ]);
}
