// Tests of the canonical query forms: order, encodings and hostile input.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicalQueries, canonicalQuery, encodeQueryComponent } from './canonical-query.ts';

test('sorts by key, then by value', () => {
  assert.equal(canonicalQuery('tag=zebra&tag=apple&a=2'), 'a=2&tag=apple&tag=zebra');
});

test('each form encodes space, tilde, asterisk and punctuation in its own way', () => {
  const raw = "x=a%20b~*!'()";
  assert.equal(canonicalQuery(raw, 'rfc3986'), 'x=a%20b~%2A%21%27%28%29');
  assert.equal(canonicalQuery(raw, 'python'), 'x=a+b~%2A%21%27%28%29');
  assert.equal(canonicalQuery(raw, 'whatwg'), 'x=a+b%7E*%21%27%28%29');
});

test('how the query was encoded on the wire does not matter', () => {
  const canonical = 'filter%5Bstatus%5D=PENDING%2CRUNNING&limit=20';
  assert.equal(canonicalQuery('limit=20&filter[status]=PENDING,RUNNING'), canonical);
  assert.equal(canonicalQuery('&filter%5bstatus%5d=PENDING%2cRUNNING&&limit=20'), canonical);
});

test('a malformed percent sign stands for itself', () => {
  assert.equal(canonicalQuery('a=100%&b=%zz&c=%4'), 'a=100%25&b=%25zz&c=%254');
});

test('invalid UTF-8 keeps its bytes, so two different requests never share a form', () => {
  assert.equal(canonicalQuery('a=%ff'), 'a=%FF');
  assert.notEqual(canonicalQuery('a=%ff'), canonicalQuery('a=%fe'));
});

test('a key without a value, a value with equals signs and an empty query', () => {
  assert.equal(canonicalQuery('flag&a=b=c&=x'), '=x&a=b%3Dc&flag=');
  assert.equal(canonicalQuery(''), '');
});

test('bytes that the client left unencoded count as the same bytes encoded', () => {
  const asDelivered = Buffer.from('t=café').toString('latin1');
  assert.equal(canonicalQuery(asDelivered), 't=caf%C3%A9');
  assert.equal(canonicalQuery('t=日'), 't=%E6%97%A5');
});

test('no query and an unambiguous query have one form', () => {
  assert.deepEqual([...canonicalQueries('')], ['']);
  assert.deepEqual(
    [...canonicalQueries('limit=20&filter[status]=A,B')],
    ['filter%5Bstatus%5D=A%2CB&limit=20'],
  );
});

test('sorting before and after encoding are both offered', () => {
  const offered = [...canonicalQueries('ab=1&a[=2')];
  assert.deepEqual(offered, ['a%5B=2&ab=1']);
  const differing = [...canonicalQueries('a[=2&aB=1')];
  assert.deepEqual(differing, ['aB=1&a%5B=2', 'a%5B=2&aB=1']);
});

test('order by UTF-16 unit and order of keys alone are offered', () => {
  const emojiFirst = [...canonicalQueries('%EE%80%80=1&%F0%9F%9A%80=2')];
  assert.deepEqual(emojiFirst, ['%EE%80%80=1&%F0%9F%9A%80=2', '%F0%9F%9A%80=2&%EE%80%80=1']);
  assert.deepEqual([...canonicalQueries('tag=z&tag=a')], ['tag=a&tag=z', 'tag=z&tag=a']);
});

test('a query of very many pairs is offered in the documented order only', () => {
  const raw = Array.from({ length: 101 }, (_, at) => `k=${200 - at}`).join('&');
  assert.equal([...canonicalQueries(raw)].length, 1);
});

test('never throws, offers each form once, and the first is the documented one', () => {
  const queryLike = fc.string({ unit: fc.constantFrom(...'ab%4fF&=+ ~*[é\u00ff日'), maxLength: 40 });
  fc.assert(
    fc.property(fc.oneof(queryLike, fc.string({ unit: 'binary' })), (raw) => {
      const offered = [...canonicalQueries(raw)];
      assert.equal(new Set(offered).size, offered.length);
      assert.equal(offered[0], canonicalQuery(raw));
      assert.match(offered.join(''), /^[\x21-\x7e]*$/);
    }),
  );
});

test('an encoded component comes back as it was', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.equal(decodeURIComponent(encodeQueryComponent(text)), text);
      assert.match(encodeQueryComponent(text), /^[\w.~%-]*$/);
    }),
  );
});
