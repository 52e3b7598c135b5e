// Who may connect: addresses against allowed_ips, IPv4 and IPv6, with ranges that the operator always lets in.
import { BlockList, isIP } from 'node:net';

export type AddressRule = (address: string) => boolean;

/** An empty list is anyone; `0.0.0.0/0` is anyone too, over IPv6 as well. Operator's ranges always pass. */
export function addressRule(
  allowedIps: readonly string[],
  operatorRanges: readonly string[] = [],
): AddressRule {
  if (allowedIps.length === 0 || allowedIps.includes('0.0.0.0/0')) return () => true;
  return rangesRule([...allowedIps, ...operatorRanges]);
}

/** Within one of the ranges; an empty list is nobody. An entry that is no address or range matches nothing. */
export function rangesRule(ranges: readonly string[]): AddressRule {
  const list = new BlockList();
  for (const range of ranges) addRange(list, range);
  return (address) => {
    const plain = plainAddress(address);
    switch (isIP(plain)) {
      case 4:
        return list.check(plain, 'ipv4') || list.check(`::ffff:${plain}`, 'ipv6');
      case 6:
        return list.check(plain, 'ipv6');
      default:
        return false;
    }
  };
}

/** `::ffff:a.b.c.d` is IPv4 in IPv6's clothes; a zone such as `%eth0` says nothing of who it is. */
export function plainAddress(address: string): string {
  return address.replace(/%.*$/, '').replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '');
}

function addRange(list: BlockList, range: string): void {
  const [address = '', prefix] = range.split('/');
  const version = isIP(address);
  if (version === 0) return;
  const bits = prefix === undefined ? (version === 4 ? 32 : 128) : Number(prefix);
  if (prefix === '' || !Number.isInteger(bits) || bits < 0 || bits > (version === 4 ? 32 : 128)) return;
  list.addSubnet(address, bits, version === 4 ? 'ipv4' : 'ipv6');
}
