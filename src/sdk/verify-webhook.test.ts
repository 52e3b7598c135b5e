// Tests of a webhook's signature, against one that openssl made.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { verifyWebhook, WebhookRefused } from './verify-webhook.ts';

const secret = 'whsec_test';
const body = '{"object":"event","kind":"placed","detail":{"name":"ü"}}';
/** `printf '%s' "1700000000.$body" | openssl dgst -sha256 -hmac whsec_test` */
const signature = 't=1700000000,v1=b92507b576bb1042ae0844cc313d8ac55957bae22c1cca5039f52da451911318';
const nowMs = 1_700_000_000_000;
const given = { secret, body, signature, nowMs };

test('a genuine delivery is its event, of text and of bytes', () => {
  assert.equal(verifyWebhook(given).kind, 'placed');
  assert.deepEqual(verifyWebhook({ ...given, body: Buffer.from(body) }).detail, { name: 'ü' });
  assert.equal(verifyWebhook({ ...given, signature: [signature] }).kind, 'placed');
});

const wrong = {
  'another secret': { secret: 'whsec_other' },
  'another body': { body: `${body} ` },
  'another time': { signature: signature.replace('t=17', 't=18') },
  'an old one': { nowMs: nowMs + 300_001 },
  'one of the future': { nowMs: nowMs - 300_001 },
  'no header': { signature: undefined },
  'an empty list': { signature: [] },
  'a short mac': { signature: 't=1700000000,v1=ab' },
  'words before it': { signature: `x ${signature}` },
};

for (const [name, change] of Object.entries(wrong)) {
  test(`refused: ${name}`, () => {
    assert.throws(() => verifyWebhook({ ...given, ...change }), WebhookRefused);
  });
}

test('at the edge of the tolerance it is taken', () => {
  assert.equal(verifyWebhook({ ...given, nowMs: nowMs + 300_000 }).kind, 'placed');
  assert.equal(verifyWebhook({ ...given, nowMs: nowMs + 1_000, toleranceMs: 1_000 }).kind, 'placed');
  assert.throws(() => verifyWebhook({ ...given, nowMs: nowMs + 1_001, toleranceMs: 1_000 }), WebhookRefused);
});
