// `flotilla up`: everything on one machine, with a hello job to show that it works.
import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import { withGatewayOptions } from '../gateway-options.ts';
import { type AgentFlags, agentSettings, withAgentOptions } from '../node-options.ts';
import { withSignInOptions } from '../sign-in-options.ts';
import { type ServerFlags, serverHelp, serverOptions, withServerOptions } from './server.ts';

interface UpFlags extends ServerFlags, AgentFlags {
  once?: true;
  hello: boolean;
}

const examples = `
Examples:
  flotilla up                      stays up until Ctrl-C; running containers are taken up again at the next start
  flotilla up --once               ends after the hello job, with exit code 0 when it was COMPLETED
  flotilla up --port 8000 --data-dir ./state`;

export function addUpCommand(program: Command, cli: Cli) {
  const command = program
    .command('up')
    .summary('run a server and a node on this machine')
    .description('Starts the database, the server and a local node, and runs a hello job.')
    .addHelpText('after', `${serverHelp}\n${examples}`);
  withServerOptions(command)
    .option('--once', 'end after the hello job')
    .option('--no-hello', 'run no hello job');
  withAgentOptions(withSignInOptions(withGatewayOptions(command))).action(async (flags: UpFlags) => {
    cli.exitCode = await cli.roles.up({
      ...serverOptions(cli.io, flags),
      ...agentSettings(flags),
      isOnce: flags.once ?? false,
      hasHello: flags.hello,
    });
  });
}
