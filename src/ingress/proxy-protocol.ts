// The PROXY protocol, versions 1 and 2: who really connects through a load balancer.
//
// Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
import { isIP } from 'node:net';

export type ProxyHeader =
  | { kind: 'incomplete' }
  | { kind: 'invalid' }
  /** `source` null: the balancer speaks for itself (a health check), so its own address counts. */
  | { kind: 'header'; byteCount: number; source: string | null };

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const incomplete: ProxyHeader = { kind: 'incomplete' };
const invalid: ProxyHeader = { kind: 'invalid' };
/** Source: the specification, 2.1: the longest line of version 1, its line end included. */
const maxLineBytes = 107;
/** Room for addresses and the additions that balancers write. */
const maxBinaryBytes = 16 + 2_048;
const v1Prefix = Buffer.from('PROXY ');

export function parseProxyHeader(bytes: Buffer): ProxyHeader {
  if (startsAs(bytes, signature)) return parseBinary(bytes);
  return startsAs(bytes, v1Prefix) ? parseLine(bytes) : invalid;
}

function startsAs(bytes: Buffer, prefix: Buffer): boolean {
  const count = Math.min(bytes.length, prefix.length);
  return bytes.subarray(0, count).equals(prefix.subarray(0, count));
}

function parseLine(bytes: Buffer): ProxyHeader {
  const end = bytes.subarray(0, maxLineBytes).indexOf('\r\n');
  if (end < 0) return bytes.length >= maxLineBytes ? invalid : incomplete;
  const [, family, source = ''] = bytes.subarray(0, end).toString('latin1').split(' ');
  const byteCount = end + 2;
  if (family === 'UNKNOWN') return { kind: 'header', byteCount, source: null };
  const isMatch = (family === 'TCP4' && isIP(source) === 4) || (family === 'TCP6' && isIP(source) === 6);
  return isMatch ? { kind: 'header', byteCount, source } : invalid;
}

function parseBinary(bytes: Buffer): ProxyHeader {
  if (bytes.length < 16) return incomplete;
  const version = bytes.readUInt8(12);
  const byteCount = 16 + bytes.readUInt16BE(14);
  if (version >> 4 !== 2 || byteCount > maxBinaryBytes) return invalid;
  if (bytes.length < byteCount) return incomplete;
  const command = version & 0x0f;
  if (command === 0) return { kind: 'header', byteCount, source: null };
  if (command !== 1) return invalid;
  return sourceOf(bytes.subarray(16, byteCount), bytes.readUInt8(13) >> 4, byteCount);
}

/** Families: 1 is IPv4, 2 IPv6; others (unix sockets, unspecified) say no address. */
function sourceOf(addresses: Buffer, family: number, byteCount: number): ProxyHeader {
  if (family === 1 && addresses.length >= 12)
    return { kind: 'header', byteCount, source: [...addresses.subarray(0, 4)].join('.') };
  if (family === 2 && addresses.length >= 36) {
    const groups = Array.from({ length: 8 }, (_, at) => addresses.readUInt16BE(at * 2).toString(16));
    return { kind: 'header', byteCount, source: groups.join(':') };
  }
  return family === 1 || family === 2 ? invalid : { kind: 'header', byteCount, source: null };
}
