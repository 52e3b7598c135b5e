// A self-signed certificate with nothing but node:crypto: the few lines of DER that X.509 needs.
//
// Source: RFC 5280 (certificate, extensions), RFC 5480 and 5758 (EC keys and ECDSA with SHA-256).
import { createPublicKey, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { isIP } from 'node:net';

export interface SelfSigned {
  certPem: string;
  keyPem: string;
}

const tags = { integer: 0x02, bitString: 0x03, octetString: 0x04, oid: 0x06, utf8: 0x0c, utcTime: 0x17 };
const sequenceTag = 0x30;
const setTag = 0x31;
const dayMs = 86_400_000;

/** Valid for each of the host names and addresses, and as its own authority; the first is its common name. */
export function makeSelfSigned(hosts: readonly string[], life: { nowMs: number; days: number }): SelfSigned {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const algorithm = sequence(oid('2a8648ce3d040302'));
  const name = sequence(der(setTag, sequence(oid('550403'), der(tags.utf8, Buffer.from(hosts[0] ?? '')))));
  const body = sequence(
    der(0xa0, integer(Buffer.from([2]))),
    integer(Buffer.concat([Buffer.from([0x01]), randomBytes(15)])),
    algorithm,
    name,
    sequence(utcTime(life.nowMs - dayMs), utcTime(life.nowMs + life.days * dayMs)),
    name,
    createPublicKey(publicKey.export({ type: 'spki', format: 'pem' })).export({
      type: 'spki',
      format: 'der',
    }),
    der(0xa3, sequence(...extensions(hosts))),
  );
  const signature = sign('sha256', body, privateKey);
  const certificate = sequence(body, algorithm, der(tags.bitString, Buffer.from([0]), signature));
  return {
    certPem: pem('CERTIFICATE', certificate),
    keyPem: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
  };
}

function extensions(hosts: readonly string[]): Buffer[] {
  const isAuthority = sequence(der(0x01, Buffer.from([0xff])));
  const serverAuth = sequence(oid('2b06010505070301'));
  return [
    extension('551d13', isAuthority),
    extension('551d11', sequence(...hosts.map(alternativeName))),
    extension('551d25', serverAuth),
  ];
}

function extension(id: string, value: Buffer): Buffer {
  return sequence(oid(id), der(tags.octetString, value));
}

/** Context tags of GeneralName: 2 is a DNS name, 7 an address in binary. */
function alternativeName(host: string): Buffer {
  return isIP(host) === 0 ? der(0x82, Buffer.from(host)) : der(0x87, addressBytes(host));
}

function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number));
  const plain = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = '', tail] = plain.split('::');
  const groups = (text: string) => text.split(':').filter((group) => group !== '');
  const before = groups(head);
  const after = groups(tail ?? '');
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0');
  return Buffer.from([...before, ...zeros, ...after].map((it) => it.padStart(4, '0')).join(''), 'hex');
}

function der(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([tag]), lengthBytes(content.length), content]);
}

function lengthBytes(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length]);
  return length < 0x100 ? Buffer.from([0x81, length]) : Buffer.from([0x82, length >> 8, length & 0xff]);
}

function sequence(...parts: Buffer[]): Buffer {
  return der(sequenceTag, ...parts);
}

function integer(bytes: Buffer): Buffer {
  return der(tags.integer, bytes);
}

function oid(hex: string): Buffer {
  return der(tags.oid, Buffer.from(hex, 'hex'));
}

function utcTime(atMs: number): Buffer {
  const digits = new Date(atMs).toISOString().replace(/\D/g, '').slice(2, 14);
  return der(tags.utcTime, Buffer.from(`${digits}Z`));
}

function pem(label: string, bytes: Buffer): string {
  const lines = bytes.toString('base64').replace(/.{64}/g, '$&\n').trimEnd();
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}
