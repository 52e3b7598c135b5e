// Uploads on their way through the disk: hash, limits, and nothing left behind.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { after, test } from 'node:test';
import { spool } from './spool.ts';

const folder = mkdtempSync(join(tmpdir(), 'flotilla-spool-'));
const before = process.env.TMPDIR;
process.env.TMPDIR = folder;
after(() => {
  if (before === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = before;
  rmSync(folder, { recursive: true });
});

const noLength = { declaredBytes: null };
const parts = [Buffer.from('hello '), Buffer.alloc(200_000, 7), Buffer.from([0, 255])];

test('keeps the bytes, tells their hash, and removes them once', async () => {
  const spooled = await spool(Readable.from(parts, { objectMode: false }), noLength);
  const whole = Buffer.concat(parts);
  assert.deepEqual(readFileSync(spooled.path), whole);
  assert.equal(spooled.sha256, createHash('sha256').update(whole).digest('hex'));
  await Promise.all([spooled.remove(), spooled.remove()]);
  assert.equal(existsSync(dirname(spooled.path)), false);
});

test('refuses what is too large by its length or by its bytes, and leaves no file and the body open', async () => {
  const declared = new Readable({ read() {} });
  await assert.rejects(spool(declared, { declaredBytes: 11, maxBytes: 10 }), { status: 413 });
  const body = Readable.from([Buffer.alloc(6), Buffer.alloc(6), Buffer.alloc(6)], { objectMode: false });
  await assert.rejects(spool(body, { ...noLength, maxBytes: 10 }), { status: 413 });
  assert.equal(body.destroyed, false);
  const fits = await spool(Readable.from([Buffer.alloc(10)]), { ...noLength, maxBytes: 10 });
  await fits.remove();
  assert.deepEqual(readdirSync(folder), []);
});

test('a body that breaks off leaves no file', async () => {
  const body = new Readable({ read() {} });
  body.push('half');
  const refused = assert.rejects(spool(body, noLength), { status: 400 });
  setTimeout(() => body.destroy(new Error('aborted')), 20);
  await refused;
  assert.deepEqual(readdirSync(folder), []);
});

test('the ninth at once waits its turn; each that ended makes room', async () => {
  const bodies = Array.from({ length: 8 }, () => new Readable({ read() {} }));
  const running = bodies.map((body) => spool(body, noLength));
  await assert.rejects(spool(Readable.from(['x']), noLength), { status: 429 });
  for (const body of bodies) body.push(null);
  const spooled = await Promise.all(running);
  await Promise.all(spooled.map((it) => it.remove()));
  const again = await spool(Readable.from([Buffer.from('x')]), noLength);
  await again.remove();
});
