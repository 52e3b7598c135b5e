// Which registries the engine may be sent to: public ones, and private addresses only where the operator allows them.
import { lookup } from 'node:dns/promises';
import { BlockList, isIP } from 'node:net';
import { defaultRegistry, registryOf } from '../domain/image-reference.ts';
import { privateRanges } from '../domain/private-ranges.ts';
import { RuntimeError } from './runtime.ts';

export type LookupAddresses = (host: string) => Promise<string[]>;

export interface RegistryRules {
  /** `host`, `host:port`, an address or a CIDR range. */
  allowed: readonly string[];
  lookup?: LookupAddresses;
}

const lookupMs = 10_000;

const privateAddresses = new BlockList();
for (const [network, prefix] of privateRanges) {
  privateAddresses.addSubnet(network, prefix, familyOf(network));
}

/** Throws `registry_not_allowed` for a reference whose registry is, or resolves to, an address that is not public. */
export async function checkRegistry(reference: string, rules: RegistryRules): Promise<void> {
  const registry = registryOf(reference);
  // The engine's own default: no job can say where it points.
  if (registry === defaultRegistry || rules.allowed.includes(registry)) return;
  const host = hostOf(registry);
  if (rules.allowed.includes(host)) return;
  const ranges = rangesOf(rules.allowed);
  const isAllowed = (address: string) =>
    ranges.check(address, familyOf(address)) || !isPrivateAddress(address);
  const addresses = isIP(host) === 0 ? await addressesOf(host, rules.lookup ?? lookupAll) : [host];
  if (addresses.every(isAllowed)) return;
  throw new RuntimeError(
    'registry_not_allowed',
    `Registry ${registry} is on a private address, which this node does not allow; its operator can with --allow-registry ${registry}.`,
  );
}

export function isPrivateAddress(address: string): boolean {
  // A BlockList matches IPv4 ranges against IPv4-mapped IPv6 addresses too.
  return privateAddresses.check(address, familyOf(address));
}

function hostOf(registry: string): string {
  return registry.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
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

async function addressesOf(host: string, find: LookupAddresses): Promise<string[]> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error('the name service did not answer')), lookupMs);
  try {
    return await Promise.race([find(host), late.promise]);
  } catch (error) {
    const { message } = error as Error;
    throw new RuntimeError(
      'registry_unreachable',
      `Registry ${host} has no address that the node can find (${message}); check its name.`,
      { cause: error },
    );
  } finally {
    clearTimeout(timer);
  }
}

async function lookupAll(host: string): Promise<string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}
