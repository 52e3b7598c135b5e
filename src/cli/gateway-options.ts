// Options of the gateway for `server` and `up`, and of direct ingress for `up` and `node run`.
import { type Command, InvalidArgumentError } from 'commander';
import { UsageError } from './errors.ts';
import type { Io } from './io.ts';
import { collect, reader } from './options.ts';
import type { GatewayOptions } from './roles.ts';

export interface GatewayFlags {
  gatewayHost?: string;
  gatewayListen?: string;
  gatewayPorts?: { from: number; to: number };
  gatewayTlsCert?: string;
  gatewayTlsKey?: string;
  gatewayPlainToo?: true;
  gatewayProxyProtocol?: true;
  gatewayAllow?: string[];
  advertiseUrl?: string;
}

const defaultPorts = { from: 20_000, to: 29_999 };

export function withGatewayOptions(command: Command): Command {
  return command
    .optionsGroup('Ports of containers:')
    .option(
      '--gateway-host <name>',
      'host that clients reach ports by, as node_urls show it (FLOTILLA_GATEWAY_HOST; default: where the server listens)',
    )
    .option('--gateway-listen <address>', 'address to listen on for ports (default: that of --host)')
    .option(
      '--gateway-ports <from-to>',
      'public ports to give out (FLOTILLA_GATEWAY_PORTS; default 20000-29999)',
      reader(portRange),
    )
    .option('--gateway-tls-cert <file>', 'certificate chain for every port but SSH (default: --tls-cert)')
    .option('--gateway-tls-key <file>', 'its private key')
    .option('--gateway-plain-too', 'ports with TLS take plain connections as well')
    .option(
      '--gateway-proxy-protocol',
      'read who connects from the PROXY header of the --trusted-proxy addresses',
    )
    .option(
      '--gateway-allow <cidr>',
      'addresses that may connect whatever allowed_ips says (repeatable)',
      collect,
    )
    .option(
      '--advertise-url <url>',
      'address that agents reach this very server by, where several share one name',
    );
}

export function gatewayOptions(io: Io, flags: GatewayFlags): GatewayOptions {
  const { gatewayTlsCert: certFile, gatewayTlsKey: keyFile } = flags;
  if (Boolean(certFile) !== Boolean(keyFile))
    throw new UsageError('Give both --gateway-tls-cert and --gateway-tls-key, or neither.');
  const hostname = flags.gatewayHost ?? (io.env.FLOTILLA_GATEWAY_HOST || null);
  if (hostname === '0.0.0.0' || hostname === '::')
    throw new UsageError('Name a host that clients can connect to with --gateway-host, not every address.');
  return {
    hostname,
    listenHost: flags.gatewayListen ?? null,
    ports: flags.gatewayPorts ?? portsOfEnvironment(io.env.FLOTILLA_GATEWAY_PORTS),
    tls: certFile && keyFile ? { certFile, keyFile } : null,
    isPlainAllowed: flags.gatewayPlainToo ?? false,
    hasProxyProtocol: flags.gatewayProxyProtocol ?? false,
    allowedRanges: flags.gatewayAllow ?? [],
    advertisedUrl: flags.advertiseUrl === undefined ? null : serverUrl(flags.advertiseUrl),
  };
}

export interface IngressFlags {
  ingress?: 'gateway' | 'direct';
  publicHost?: string;
}

export function withIngressOptions(command: Command): Command {
  return command
    .option(
      '--ingress <how>',
      'gateway: ports go through the server; direct: this machine listens on them itself (default gateway)',
      reader(ingressWord),
    )
    .option('--public-host <name>', 'host that clients reach this machine by, with --ingress direct');
}

/** null: through the gateway; empty: direct, under the gateway's name. */
export function publicHostOf({ ingress, publicHost }: IngressFlags): string | null {
  if (ingress === 'direct') return publicHost ?? '';
  if (publicHost !== undefined) throw new UsageError('--public-host goes with --ingress direct.');
  return null;
}

function ingressWord(text: string): 'gateway' | 'direct' {
  if (text === 'gateway' || text === 'direct') return text;
  throw new InvalidArgumentError('It must be gateway or direct.');
}

function portRange(text: string): { from: number; to: number } {
  const [, from, to] = /^(\d{1,5})-(\d{1,5})$/.exec(text) ?? [];
  const range = { from: Number(from), to: Number(to) };
  if (from === undefined || range.from < 1 || range.to > 65_535 || range.from > range.to)
    throw new Error('It must be two ports such as 20000-29999, the smaller one first.');
  return range;
}

function portsOfEnvironment(text: string | undefined): { from: number; to: number } {
  if (!text) return defaultPorts;
  try {
    return portRange(text);
  } catch (cause) {
    throw new UsageError(`FLOTILLA_GATEWAY_PORTS is "${text}": it must be two ports such as 20000-29999.`, {
      cause,
    });
  }
}

function serverUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url.origin;
  throw new UsageError(
    `--advertise-url is "${text}": it must be a URL such as https://flotilla-1.example:7070.`,
  );
}
