// What must hold of the bridge itself: it is in this process's network, and its inner traffic passes the packet filter.
import { readFile, writeFile } from 'node:fs/promises';

/** Traffic between two ports of a bridge passes iptables only while these are on; other programs switch them off. */
const switches = [
  '/proc/sys/net/bridge/bridge-nf-call-iptables',
  '/proc/sys/net/bridge/bridge-nf-call-ip6tables',
];

/** Throws a sentence where the bridge cannot be guarded; true when a switch was off and had to be turned on. */
export async function guardBridge(bridge: string): Promise<boolean> {
  const links = await readFile('/proc/net/dev', 'utf8').catch(() => '');
  if (!links.split('\n').some((line) => line.trim().startsWith(`${bridge}:`))) {
    throw new Error(
      `The bridge ${bridge} is not in the agent's network: run the agent where the Docker Engine runs, outside of containers.`,
    );
  }
  const turned = await Promise.all(switches.map(turnOn));
  return turned.includes(true);
}

async function turnOn(path: string): Promise<boolean> {
  try {
    if ((await readFile(path, 'utf8')).trim() === '1') return false;
    await writeFile(path, '1');
    return true;
  } catch (cause) {
    throw new Error(
      `Traffic between containers does not pass the packet filter (${path}): load the kernel module br_netfilter.`,
      { cause },
    );
  }
}
