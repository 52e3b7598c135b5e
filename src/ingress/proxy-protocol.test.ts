// PROXY headers of both versions: whole, in pieces, and those that are none.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseProxyHeader } from './proxy-protocol.ts';

const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

function v2(command: number, family: number, addresses: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(addresses.length);
  return Buffer.concat([signature, Buffer.from([0x20 | command, (family << 4) | 1]), length, addresses]);
}

const ipv4 = v2(1, 1, Buffer.from([203, 0, 113, 7, 10, 0, 0, 1, 0x1f, 0x90, 0, 80]));
const ipv6 = v2(1, 2, Buffer.from(`20010db8${'0'.repeat(23)}1${'0'.repeat(31)}21f900050`, 'hex'));
const headers: [string, Buffer, string | null][] = [
  ['v1, TCP4', Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 8080 80\r\n'), '203.0.113.7'],
  ['v1, TCP6', Buffer.from('PROXY TCP6 2001:db8::1 ::2 8080 80\r\n'), '2001:db8::1'],
  ['v1, UNKNOWN', Buffer.from('PROXY UNKNOWN\r\n'), null],
  ['v2, IPv4', ipv4, '203.0.113.7'],
  ['v2, IPv6', ipv6, '2001:db8:0:0:0:0:0:1'],
  ['v2, LOCAL', v2(0, 0, Buffer.alloc(0)), null],
  ['v2, unix socket', v2(1, 3, Buffer.alloc(216)), null],
  ['v2 with additions', v2(1, 1, Buffer.concat([ipv4.subarray(16), Buffer.alloc(40, 4)])), '203.0.113.7'],
];

for (const [name, header, source] of headers) {
  test(`${name}: source and length, and every shorter piece is incomplete`, () => {
    const withBody = Buffer.concat([header, Buffer.from('GET / HTTP/1.1')]);
    assert.deepEqual(parseProxyHeader(withBody), { kind: 'header', byteCount: header.length, source });
    for (let length = 0; length < header.length; length += 1)
      assert.equal(parseProxyHeader(header.subarray(0, length)).kind, 'incomplete', `${length} bytes`);
  });
}

test('other first bytes, wrong families and endless lines are invalid', () => {
  const invalid = [
    Buffer.from('GET / HTTP/1.1\r\n'),
    Buffer.from('PROXY TCP4 not-an-address 10.0.0.1 1 2\r\n'),
    Buffer.from('PROXY TCP4 2001:db8::1 ::2 1 2\r\n'),
    Buffer.from('PROXY TCP9 10.0.0.1 10.0.0.1 1 2\r\n'),
    Buffer.from(`PROXY ${'x'.repeat(200)}`),
    v2(7, 1, ipv4.subarray(16)),
    v2(1, 1, Buffer.alloc(4)),
    v2(1, 1, Buffer.alloc(60_000)),
    Buffer.concat([signature, Buffer.from([0x31, 0x11, 0, 12]), Buffer.alloc(12)]),
  ];
  for (const bytes of invalid)
    assert.equal(parseProxyHeader(bytes).kind, 'invalid', String(bytes.subarray(0, 40)));
});

test('no bytes make it throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, isSigned) => {
      const parsed = parseProxyHeader(
        Buffer.concat([isSigned ? signature : Buffer.alloc(0), Buffer.from(bytes)]),
      );
      if (parsed.kind === 'header') assert.ok(parsed.byteCount <= bytes.length + signature.length);
    }),
  );
});
