// The certificate that `tls self-signed` makes: read by OpenSSL's own parser and used in a real handshake.
import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { connect, createServer } from 'node:tls';
import { makeSelfSigned } from './self-signed.ts';

const life = { nowMs: Date.parse('2026-11-23T12:00:00Z'), days: 30 };

test('names, addresses, dates and key are as asked', () => {
  const made = makeSelfSigned(['jobs.example', '10.1.2.3', '2001:db8::1', '::1'], life);
  const certificate = new X509Certificate(made.certPem);
  assert.equal(certificate.subject, 'CN=jobs.example');
  assert.equal(certificate.checkHost('jobs.example'), 'jobs.example');
  assert.equal(certificate.checkHost('other.example'), undefined);
  for (const address of ['10.1.2.3', '2001:db8::1', '::1'])
    assert.equal(certificate.checkIP(address), address, address);
  assert.equal(certificate.checkIP('10.1.2.4'), undefined);
  assert.equal(certificate.ca, true);
  assert.ok(certificate.verify(certificate.publicKey));
  assert.ok(certificate.checkPrivateKey(createPrivateKey(made.keyPem)));
  assert.equal(Date.parse(certificate.validFrom), Date.parse('2026-11-22T12:00:00Z'));
  assert.equal(Date.parse(certificate.validTo), Date.parse('2026-12-23T12:00:00Z'));
});

test('a client that trusts it connects, one that does not refuses', async () => {
  const { certPem, keyPem } = makeSelfSigned(['localhost'], { nowMs: Date.now(), days: 1 });
  const server = createServer({ cert: certPem, key: keyPem }, (socket) => socket.end('hi'));
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const place = { port: (server.address() as AddressInfo).port, host: '127.0.0.1', servername: 'localhost' };
  const trusting = connect({ ...place, ca: certPem });
  await once(trusting, 'secureConnect');
  assert.equal(trusting.authorized, true);
  trusting.destroy();
  const [error] = await once(connect(place), 'error');
  assert.match(String(error.code), /SELF_SIGNED/);
  server.close();
});
