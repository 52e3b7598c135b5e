// `flotilla server`: API, scheduler and hub without a local node; and the options that `up` shares with it.
import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import { defaultDataDirectory } from '../connection.ts';
import { databaseOptions } from '../database-options.ts';
import { UsageError } from '../errors.ts';
import { type GatewayFlags, gatewayOptions, withGatewayOptions } from '../gateway-options.ts';
import type { Io } from '../io.ts';
import { collect, durationMs, port } from '../options.ts';
import type { ServerOptions } from '../roles.ts';
import { type SignInFlags, signInOptions, withSignInOptions } from '../sign-in-options.ts';

export interface ServerFlags extends GatewayFlags, SignInFlags {
  port?: number;
  host?: string;
  dataDir?: string;
  tlsCert?: string;
  tlsKey?: string;
  insecureHttp?: true;
  trustedProxy?: string[];
  trustTenants?: true;
  allowWebhook?: string[];
  nodeLostAfter?: number;
  drainDelay?: number;
}

const defaultPort = 7070;
const defaultHost = '127.0.0.1';

export function addServerCommand(program: Command, cli: Cli) {
  const command = program
    .command('server')
    .summary('run a server without a local node')
    .description('Runs the API, the scheduler and the hub for nodes on other machines.')
    .addHelpText(
      'after',
      `${serverHelp}\n\nExample:\n  DATABASE_URL=postgres://… flotilla server --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem`,
    );
  withSignInOptions(withGatewayOptions(withServerOptions(command))).action(async (flags: ServerFlags) => {
    cli.exitCode = await cli.roles.server(serverOptions(cli.io, flags));
  });
}

export const serverHelp = `
The database is an embedded PostgreSQL in the data directory, or the one that DATABASE_URL names; where that is a
pooler, DATABASE_DIRECT_URL names the same database past it.
Listening beyond loopback needs --tls-cert and --tls-key, or --insecure-http.`;

export function withServerOptions(command: Command): Command {
  return command
    .option(
      '--port <port>',
      `port of the API, 0 for any free one (FLOTILLA_PORT; default ${defaultPort})`,
      port,
    )
    .option('--host <address>', `address to listen on (FLOTILLA_HOST; default ${defaultHost})`)
    .option(
      '--data-dir <folder>',
      'where everything is kept (FLOTILLA_DATA_DIR; default as root /var/lib/flotilla, else ~/.flotilla)',
    )
    .option('--tls-cert <file>', 'certificate chain in PEM')
    .option('--tls-key <file>', 'private key in PEM')
    .option('--insecure-http', 'allow plain HTTP beyond loopback')
    .option('--trusted-proxy <cidr>', 'proxy whose X-Forwarded-For is believed (repeatable)', collect)
    .option('--node-lost-after <duration>', 'silence after which a node is lost (default 5m)', durationMs)
    .option(
      '--drain-delay <duration>',
      'when told to stop, go on serving for so long, not ready, until load balancers have noticed (default 0s)',
      durationMs,
    )
    .option(
      '--allow-webhook <host>',
      'let webhooks point at a private host, host:port, address or range (repeatable)',
      collect,
    )
    .option('--trust-tenants', "place every account's jobs also on nodes that cannot keep runs apart");
}

export function serverOptions(io: Io, flags: ServerFlags): ServerOptions {
  if (Boolean(flags.tlsCert) !== Boolean(flags.tlsKey)) {
    throw new UsageError('Give both --tls-cert and --tls-key, or neither.');
  }
  const { tlsCert: certFile, tlsKey: keyFile } = flags;
  return {
    port: flags.port ?? (io.env.FLOTILLA_PORT ? portOfEnvironment(io.env.FLOTILLA_PORT) : defaultPort),
    host: flags.host ?? (io.env.FLOTILLA_HOST || defaultHost),
    dataDirectory: flags.dataDir ?? defaultDataDirectory(io),
    ...databaseOptions(io),
    tls: certFile && keyFile ? { certFile, keyFile } : null,
    isInsecureHttpAllowed: flags.insecureHttp ?? false,
    trustedProxies: flags.trustedProxy ?? [],
    drainDelayMs: flags.drainDelay ?? 0,
    trustTenants: flags.trustTenants ?? false,
    allowedWebhooks: flags.allowWebhook ?? [],
    lostAfterMs: flags.nodeLostAfter ?? null,
    gateway: gatewayOptions(io, flags),
    ...signInOptions(io, flags),
  };
}

function portOfEnvironment(text: string): number {
  try {
    return port(text);
  } catch (error) {
    throw new UsageError(`FLOTILLA_PORT is "${text}": it must be a port, 0 to 65535.`, { cause: error });
  }
}
