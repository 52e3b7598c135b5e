// The name servers that the engine asks for containers, as far as it asks them from inside a container's network.
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';

export interface Resolvers {
  4: readonly string[];
  6: readonly string[];
}

const resolvConf = '/etc/resolv.conf';
/** systemd-resolved's own list: the engine reads it where the usual file names only the stub on loopback. */
const systemdResolvConf = '/run/systemd/resolve/resolv.conf';
const engineSettings = '/etc/docker/daemon.json';
const stubAddress = '127.0.0.53';
/** Where the engine finds no server it takes these. */
const engineDefaults = ['8.8.8.8', '8.8.4.4'];

/** Servers on loopback are left out: the engine asks them from the host's own network. */
export async function readResolvers(read = readText): Promise<Resolvers> {
  const usual = nameServers(await read(resolvConf));
  const isStubOnly = usual.length === 1 && usual[0] === stubAddress;
  const hosts = isStubOnly ? nameServers(await read(systemdResolvConf)) : usual;
  const addresses = [...new Set([...engineServers(await read(engineSettings)), ...hosts])];
  const asked = addresses.filter((address) => !isLoopback(address));
  const known = addresses.length === 0 ? engineDefaults : asked;
  return {
    4: known.filter((address) => isIP(address) === 4),
    6: known.filter((address) => isIP(address) === 6),
  };
}

async function readText(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '');
}

function nameServers(text: string): string[] {
  const found = text.matchAll(/^\s*nameserver\s+(\S+)/gm);
  return [...found].map(([, address = '']) => address.split('%')[0] ?? '').filter((it) => isIP(it) !== 0);
}

/** Addresses that the operator gave the engine itself. */
function engineServers(text: string): string[] {
  try {
    const { dns } = JSON.parse(text) as { dns?: unknown };
    return Array.isArray(dns)
      ? dns.filter((it): it is string => typeof it === 'string' && isIP(it) !== 0)
      : [];
  } catch {
    return [];
  }
}

function isLoopback(address: string): boolean {
  return address === '::1' || (isIP(address) === 4 && address.startsWith('127.'));
}
