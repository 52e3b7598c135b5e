// From options to what the gateway needs: its public name, where it listens, certificate and trusted proxies.
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { createSecureContext } from 'node:tls';
import { defaultPortRange, type PortRange } from '../db/gateway-ports.ts';
import type { GatewayOptions } from '../gateway/gateway.ts';
import { rangesRule } from '../ingress/address-rules.ts';

export interface GatewaySettings {
  /** What node_urls name; null: from where the server listens. */
  hostname: string | null;
  /** Address to listen on for public ports; null: the API's. */
  listenHost: string | null;
  ports: PortRange;
  /** null: the API's certificate, if it has one. */
  tls: { certFile: string; keyFile: string } | null;
  /** Ports with TLS take plain connections too. */
  isPlainAllowed: boolean;
  /** Trusted proxies say for whom they connect. */
  hasProxyProtocol: boolean;
  /** Ranges that may always connect. */
  allowedRanges: readonly string[];
  /** Where agents reach this replica; null: where it listens, or their own way where that is not one address. */
  advertisedUrl: string | null;
}

export const defaultGatewaySettings: GatewaySettings = {
  hostname: null,
  listenHost: null,
  ports: defaultPortRange,
  tls: null,
  isPlainAllowed: false,
  hasProxyProtocol: false,
  allowedRanges: [],
  advertisedUrl: null,
};

interface ServerPlace {
  host: string;
  tls: { certFile: string; keyFile: string } | null;
  trustedProxies: readonly string[];
}

const loopbackRanges = ['127.0.0.0/8', '::1'];
const isLoopback = rangesRule(loopbackRanges);

/** What clients are told. Never an address that means "any". */
export function gatewayHostname(settings: GatewaySettings, { host }: ServerPlace): string {
  if (settings.hostname !== null) return settings.hostname;
  const listenHost = settings.listenHost ?? host;
  if (!isAnyAddress(listenHost)) return listenHost;
  if (settings.advertisedUrl !== null) return new URL(settings.advertisedUrl).hostname;
  const addresses = Object.values(networkInterfaces()).flatMap((its) => its ?? []);
  return addresses.find((it) => it.family === 'IPv4' && !it.internal)?.address ?? '127.0.0.1';
}

export function gatewayHasTls(settings: GatewaySettings, { tls }: ServerPlace): boolean {
  return (settings.tls ?? tls) !== null;
}

/** The parts of the gateway's options that come from settings. */
export function gatewayDoor(
  settings: GatewaySettings,
  server: ServerPlace,
): Pick<GatewayOptions, 'host' | 'operatorRanges' | 'trustedProxies' | 'tls'> {
  const host = settings.listenHost ?? server.host;
  const files = settings.tls ?? server.tls;
  const isLocal = host === 'localhost' || isLoopback(host);
  return {
    host,
    operatorRanges: [...settings.allowedRanges, ...(isLocal ? loopbackRanges : [])],
    trustedProxies: settings.hasProxyProtocol ? rangesRule(server.trustedProxies) : null,
    tls:
      files === null
        ? null
        : {
            context: createSecureContext({
              cert: readFileSync(files.certFile),
              key: readFileSync(files.keyFile),
            }),
            isPlainAllowed: settings.isPlainAllowed,
          },
  };
}

/** Empty where this replica does not know an address of its own: agents then take the way that control takes. */
export function advertisedUrl(settings: GatewaySettings, { host }: ServerPlace, listenUrl: string): string {
  return settings.advertisedUrl ?? (isAnyAddress(host) ? '' : listenUrl);
}

function isAnyAddress(host: string): boolean {
  return host === '0.0.0.0' || (isIP(host) === 6 && /^[0:]+$/.test(host));
}
