// The address an upgrade came from: past proxies that are trusted, as the API sees it for requests.
import type { IncomingMessage } from 'node:http';
import type { BlockList } from 'node:net';

/** Walks X-Forwarded-For from the nearest hop outward, as far as the hops are trusted. */
export function clientAddress(request: IncomingMessage, trusted: BlockList): string {
  const header = request.headers['x-forwarded-for'];
  const hops = String(header ?? '')
    .split(',')
    .map((hop) => hop.trim())
    .filter(Boolean);
  let address = plain(request.socket.remoteAddress ?? '');
  for (const hop of hops.reverse()) {
    if (!trusted.check(address, address.includes(':') ? 'ipv6' : 'ipv4')) break;
    address = plain(hop);
  }
  return address;
}

function plain(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/, '');
}
