// A hostile container's tar writes nothing outside the target, and leaves no link that leads out of it.
import assert from 'node:assert/strict';
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, beforeEach, test } from 'node:test';
import fc from 'fast-check';
import { type Header, pack } from 'tar-stream';
import { extractTree, staysInside } from './tar-extract.ts';
import { packTree } from './tar-pack.ts';

const place = realpathSync(mkdtempSync(join(tmpdir(), 'flotilla-extract-')));
after(() => rmSync(place, { recursive: true }));
const outside = join(place, 'outside');
const inside = join(place, 'inside');
const root = join(inside, 'd');

beforeEach(() => {
  for (const folder of [outside, inside]) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
  }
  writeFileSync(join(outside, 'secret'), 'untouched');
});

type Item = Partial<Header> & { name: string; content?: string };

function tarOf(items: readonly Item[]): Readable {
  const tar = pack();
  for (const { content = '', ...header } of items) tar.entry(header, content);
  tar.finalize();
  return Readable.from(tar);
}

const unpack = (...items: Item[]) => extractTree(tarOf(items), { root, prefix: 'd' });
const folder = (name: string): Item => ({ name, type: 'directory', mode: 0o755 });
const link = (name: string, linkname: string): Item => ({ name, type: 'symlink', linkname });

function assertUntouched() {
  assert.deepEqual(readdirSync(outside), ['secret']);
  assert.equal(readFileSync(join(outside, 'secret'), 'utf8'), 'untouched');
  assert.deepEqual(readdirSync(place).sort(), ['inside', 'outside']);
}

test('a tree comes back as it was: contents, modes, times, links, empty folders', async () => {
  const source = join(place, 'outside', 'src');
  mkdirSync(join(source, 'sub', 'empty'), { recursive: true });
  writeFileSync(join(source, 'run.sh'), '#!/bin/sh\n', { mode: 0o755 });
  writeFileSync(join(source, 'sub', 'nothing'), '');
  writeFileSync(join(source, 'sub', `${'long'.repeat(40)}.ü`), Buffer.alloc(100_000, 7));
  symlinkSync('sub/nothing', join(source, 'link'));
  const { tar, skipped } = await packTree(source, 'd');
  const extracted = await extractTree(tar, { root, prefix: 'd' });
  assert.deepEqual([extracted.fileCount, extracted.skipped, skipped], [4, [], []]);
  assert.deepEqual(
    readdirSync(root, { recursive: true }).sort(),
    readdirSync(source, { recursive: true }).sort(),
  );
  assert.equal(lstatSync(join(root, 'run.sh')).mode & 0o777, 0o755);
  assert.equal(readlinkSync(join(root, 'link')), 'sub/nothing');
  assert.deepEqual(readFileSync(join(root, 'sub', `${'long'.repeat(40)}.ü`)), Buffer.alloc(100_000, 7));
  const seconds = (path: string) => Math.floor(lstatSync(path).mtimeMs / 1000);
  assert.equal(seconds(join(root, 'run.sh')), seconds(join(source, 'run.sh')));
});

for (const name of [
  '../evil',
  'd/../../evil',
  'd/../evil',
  '/evil',
  'other/evil',
  'd/a/../../../outside/evil',
]) {
  test(`the name "${name}" is refused`, async () => {
    await assert.rejects(unpack(folder('d'), { name, content: 'x' }), /outside what was asked for/);
    assertUntouched();
    assert.equal(existsSync('/evil'), false);
  });
}

test('links that lead out are left out, and nothing is written through any link', async () => {
  const targets = [outside, '../../outside', 'sub/../../../outside', '..', '../..', '/etc/passwd', ''];
  for (const target of targets) {
    const { skipped } = await unpack(folder('d'), link('d/out', target));
    assert.equal(skipped.length, 1, target);
    assert.equal(lstatSync(join(root, 'out'), { throwIfNoEntry: false }), undefined, target);
  }
  // The link is left out, so that the name becomes a real folder.
  await unpack(folder('d'), link('d/way', outside), { name: 'd/way/evil', content: 'x' });
  assert.equal(readFileSync(join(root, 'way', 'evil'), 'utf8'), 'x');
  // A link that was kept is never a way.
  await assert.rejects(
    unpack(folder('d/real'), link('d/alias', 'real'), { name: 'd/alias/evil', content: 'x' }),
    /alias is a link/,
  );
  assertUntouched();
});

test('a link by way of another does not lead out', async () => {
  // "self" is the root, so that "self/.." would be its parent.
  const { skipped } = await unpack(
    folder('d'),
    link('d/self', '.'),
    link('d/up', 'self/..'),
    link('d/up2', 'self/../outside'),
  );
  assert.equal(skipped.length, 2);
  assert.deepEqual(readdirSync(root), ['self']);
});

test('a hard link reaches only files that were copied', async () => {
  const { skipped } = await unpack(
    folder('d'),
    { name: 'd/a', content: 'one' },
    { name: 'd/b', type: 'link', linkname: 'd/a' },
    link('d/alias', 'a'),
    { name: 'd/c', type: 'link', linkname: 'd/alias' },
    { name: 'd/e', type: 'link', linkname: 'd/missing' },
  );
  assert.equal(readFileSync(join(root, 'b'), 'utf8'), 'one');
  assert.deepEqual(
    skipped.map((line) => line.split(':')[0]),
    ['d/c', 'd/e'],
  );
  for (const linkname of ['../outside/secret', join(outside, 'secret')]) {
    await assert.rejects(unpack({ name: 'd/f', type: 'link', linkname }), /outside what was asked for/);
  }
  assertUntouched();
});

test('what lies at the target already is replaced, not written through', async () => {
  mkdirSync(root);
  symlinkSync(join(outside, 'secret'), join(root, 'a'));
  linkSync(join(outside, 'secret'), join(root, 'b'));
  symlinkSync(outside, join(root, 'sub'));
  await unpack(folder('d'), { name: 'd/a', content: 'new' }, { name: 'd/b', content: 'new' });
  assert.equal(lstatSync(join(root, 'a')).isFile(), true);
  assert.equal(readFileSync(join(root, 'b'), 'utf8'), 'new');
  await assert.rejects(unpack({ name: 'd/sub/evil', content: 'x' }), /sub is a link/);
  await assert.rejects(unpack(folder('d/sub')), /sub is a link/);
  assertUntouched();
});

test('setuid is dropped, devices are left out, a folder without rights is filled all the same', async () => {
  const { skipped } = await unpack(
    { ...folder('d'), mode: 0o555 },
    { name: 'd/su', content: 'x', mode: 0o6755 },
    { name: 'd/null', type: 'character-device', devmajor: 1, devminor: 3 },
    { name: 'd/pipe', type: 'fifo' },
  );
  assert.equal(lstatSync(join(root, 'su')).mode & 0o7777, 0o755);
  assert.equal(lstatSync(root).mode & 0o777, 0o555);
  assert.deepEqual(
    skipped.map((line) => line.split(':')[0]),
    ['d/null', 'd/pipe'],
  );
});

test('a single file takes the name of the target; a link in its place says where it leads', async () => {
  await extractTree(tarOf([{ name: 'f', content: 'x' }]), { root: join(inside, 'g'), prefix: 'f' });
  assert.equal(readFileSync(join(inside, 'g'), 'utf8'), 'x');
  const linked = extractTree(tarOf([link('f', '/etc/passwd')]), { root: join(inside, 'h'), prefix: 'f' });
  await assert.rejects(linked, /is a link to "\/etc\/passwd"; copy that path instead/);
});

test('a tar that ends too early is an error', async () => {
  const whole = Buffer.concat(await tarOf([{ name: 'd/a', content: 'x'.repeat(5000) }]).toArray());
  await assert.rejects(extractTree(Readable.from([whole.subarray(0, 2000)]), { root, prefix: 'd' }));
});

test('whatever links are made, each that is kept resolves inside', async () => {
  const names = ['a', 'b', 'c'];
  const target = fc
    .array(fc.constantFrom('..', '.', ...names), { minLength: 1, maxLength: 4 })
    .map((parts) => parts.join('/'));
  const item = fc.record({
    path: fc.array(fc.constantFrom(...names), { minLength: 1, maxLength: 3 }),
    target,
  });
  await fc.assert(
    fc.asyncProperty(fc.array(item, { maxLength: 6 }), async (items) => {
      rmSync(root, { recursive: true, force: true });
      // A clash of a link with a folder ends the copy, which is fine here.
      await unpack(
        folder('d'),
        ...items.map(({ path, target: to }) => link(['d', ...path].join('/'), to)),
      ).catch(() => {});
      for (const name of namesBelow(root)) {
        const resolved = resolveOrNull(join(root, name));
        assert.ok(resolved === null || `${resolved}/`.startsWith(`${root}/`), `${name} leads to ${resolved}`);
      }
    }),
    { numRuns: 60 },
  );
});

/** Node's own recursion follows links, round and round. */
function namesBelow(path: string): string[] {
  return readdirSync(path, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory()
      ? [entry.name, ...namesBelow(join(path, entry.name)).map((name) => join(entry.name, name))]
      : [entry.name],
  );
}

function resolveOrNull(path: string): string | null {
  try {
    return realpathSync(path);
  } catch {
    return null;
  }
}

test('staysInside counts the folders that a link lies below', () => {
  assert.deepEqual(
    [
      staysInside('../x', 1),
      staysInside('../x', 0),
      staysInside('../../x', 1),
      staysInside('x/../y', 5),
      staysInside('./x', 0),
    ],
    [true, false, false, false, true],
  );
});
