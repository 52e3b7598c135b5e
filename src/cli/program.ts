// The whole command line: `flotilla` and its commands, with exit codes in place of exceptions.
import { Command, CommanderError } from 'commander';
import { type Cli, createCli } from './cli.ts';
import { addAccountCommands } from './commands/account.ts';
import { addAuditCommands } from './commands/audit.ts';
import { addClusterCommands } from './commands/cluster.ts';
import { addEventsCommand } from './commands/events.ts';
import { addJobCommands } from './commands/job.ts';
import { addKeyCommands } from './commands/key.ts';
import { addLoginCommands } from './commands/login.ts';
import { addMarketCommands } from './commands/market.ts';
import { addNodeCommands } from './commands/node.ts';
import { addRecipeCommands } from './commands/recipe.ts';
import { addServerCommand } from './commands/server.ts';
import { addSessionCommands } from './commands/session.ts';
import { addTlsCommands } from './commands/tls.ts';
import { addUpCommand } from './commands/up.ts';
import { addWebhookCommands } from './commands/webhook.ts';
import { errorExitCode, errorLines, exitCodeHelp, exitCodes } from './exit-code.ts';
import type { Io } from './io.ts';
import { printLines } from './output.ts';
import type { Roles } from './roles.ts';

const examples = `
Examples:
  flotilla up                                     a server and a node on this machine
  flotilla job submit busybox --wait -- echo hi   run a container and see its output
  flotilla job list --status RUNNING
  flotilla job logs --follow UUID
  flotilla job stop UUID

The server and the key are found by --url and --key-file, else FLOTILLA_URL with FLOTILLA_PUBLIC_KEY and
FLOTILLA_SECRET_KEY, else FLOTILLA_KEY_FILE, else the session of "flotilla login", else admin-key.json in the data directory of "flotilla up".`;

/** Runs the command in `args` (without the program's own name) and resolves to the exit code. */
export async function runProgram(args: string[], roles: Roles, io: Io): Promise<number> {
  const cli = createCli(io, roles);
  try {
    await buildProgram(cli).parseAsync(args, { from: 'user' });
    return cli.exitCode;
  } catch (error) {
    // Commander has already said what is wrong, or shown the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.other;
    printLines(io.stderr, errorLines(error, Boolean(io.env.FLOTILLA_DEBUG)));
    return errorExitCode(error);
  }
}

export function buildProgram(cli: Cli): Command {
  const { io, roles } = cli;
  const program = new Command('flotilla')
    .description('Runs Docker jobs on every machine you own.')
    .version(roles.version, '-V, --version', 'print the version')
    .addHelpText('after', `${examples}\n${exitCodeHelp}`);
  // Before any command is added: commands inherit both.
  program.exitOverride().configureOutput({
    writeOut: (text) => io.stdout.write(text),
    writeErr: (text) => io.stderr.write(text),
    getOutHelpWidth: () => (io.stdout.isTTY ? io.stdout.columns || 80 : 110),
    getErrHelpWidth: () => (io.stderr.isTTY ? io.stderr.columns || 80 : 110),
    getOutHasColors: () => false,
    getErrHasColors: () => false,
  });
  addUpCommand(program, cli);
  addServerCommand(program, cli);
  addNodeCommands(program, cli);
  addJobCommands(program, cli);
  addEventsCommand(program, cli);
  addRecipeCommands(program, cli);
  addMarketCommands(program, cli);
  addLoginCommands(program, cli);
  addSessionCommands(program, cli);
  addAccountCommands(program, cli);
  addWebhookCommands(program, cli);
  addKeyCommands(program, cli);
  addAuditCommands(program, cli);
  addClusterCommands(program, cli);
  addTlsCommands(program, cli);
  return program;
}
