// Where webhooks may point: public addresses over HTTPS, and beyond that what the operator allows.
import { BlockList, isIP } from 'node:net';
import { privateRanges } from '../domain/private-ranges.ts';

export interface TargetRules {
  /** What is wrong with a webhook's URL, as "expected …"; null: nothing that can be seen without asking for its name. */
  problemOf(url: string): string | null;
  /** Whether a connection to the address may be made for the sake of the URL's host. */
  isAllowed(address: string, url: URL): boolean;
}

const privateAddresses = new BlockList();
for (const [network, prefix] of privateRanges)
  privateAddresses.addSubnet(network, prefix, network.includes(':') ? 'ipv6' : 'ipv4');

/** Beside these, any port from 1024: servers of other protocols below it could be made to read our bytes. */
const lowPorts = new Set([80, 443]);

/** `allowed`: hosts, hosts with a port, addresses and CIDR ranges, as the operator gave them. */
export function createTargetRules(allowed: readonly string[]): TargetRules {
  const ranges = rangesOf(allowed);
  const hosts = new Set(allowed.map((entry) => entry.toLowerCase()));
  const isNamed = (url: URL) =>
    hosts.has(hostOf(url)) || hosts.has(url.host) || hosts.has(`${hostOf(url)}:${portOf(url)}`);
  const isInRange = (address: string) => isIP(address) !== 0 && ranges.check(address, familyOf(address));
  const isAllowed = (address: string, url: URL) =>
    isNamed(url) || isInRange(address) || !privateAddresses.check(address, familyOf(address));
  return {
    isAllowed,
    problemOf(text) {
      const url = URL.parse(text);
      if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) return 'an https address';
      if (url.username !== '' || url.password !== '' || url.hash !== '')
        return 'an address without user, password and fragment';
      const host = hostOf(url);
      const isTrusted = isNamed(url) || isInRange(host);
      if (url.protocol === 'http:' && !isTrusted)
        return 'https: plain http only to hosts that the operator allows';
      if (portOf(url) < 1024 && !lowPorts.has(portOf(url)) && !isTrusted)
        return 'port 443, 80, or one from 1024';
      if (isIP(host) !== 0 && !isAllowed(host, url))
        return 'a public address: private ones need the operator’s --allow-webhook';
      return null;
    },
  };
}

/** Without the brackets of IPv6. */
export function hostOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, '$1').toLowerCase();
}

function portOf(url: URL): number {
  return url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4';
}

function rangesOf(allowed: readonly string[]): BlockList {
  const ranges = new BlockList();
  for (const entry of allowed) {
    const [address = '', prefix] = entry.split('/');
    if (isIP(address) === 0) continue;
    ranges.addSubnet(address, Number(prefix ?? (isIP(address) === 6 ? 128 : 32)), familyOf(address));
  }
  return ranges;
}
