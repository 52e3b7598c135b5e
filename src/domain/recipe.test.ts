// Recipes: places filled, values checked, overrides laid over.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { envNamesOf, fill, overlay, placesIn, type RecipeInput, valuesOf } from './recipe.ts';

const input = (key: string, fields: Partial<RecipeInput> = {}): RecipeInput => ({
  key,
  type: 'text',
  isRequired: false,
  defaultValue: null,
  options: [],
  ...fields,
});

test('a text that is one place takes the value as it is, others take it as text', () => {
  const body = {
    cpu_count: '${cpus}',
    title: 'with ${cpus} CPUs',
    list: ['${name}', 1, null],
    flag: '${on}',
  };
  assert.deepEqual(fill(body, { cpus: 4, name: 'x', on: true }), {
    cpu_count: 4,
    title: 'with 4 CPUs',
    list: ['x', 1, null],
    flag: true,
  });
});

test('env, commands and other text take text whatever fills them', () => {
  const container = { env: { N: '${n}' }, command: ['${n}'], ports: ['${n}'] };
  assert.deepEqual(fill({ parameters: { parameters: container } }, { n: 8 }), {
    parameters: { parameters: { env: { N: '8' }, command: ['8'], ports: [8] } },
  });
});

test('an escaped place is the text itself, for shells', () => {
  assert.deepEqual(fill({ command: ['sh', '-c', 'echo $${HOME} $USER ${name}'] }, { name: 'n' }), {
    command: ['sh', '-c', 'echo ${HOME} $USER n'],
  });
});

test('what was filled in is never filled again', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (a, b) => {
      assert.deepEqual(fill({ x: '${a}', y: '-${a}-${b}' }, { a, b }), { x: a, y: `-${a}-${b}` });
    }),
  );
});

test('a body without places is the same when filled, and when nothing is laid over it', () => {
  const plain = fc
    .jsonValue()
    .filter((value) => placesIn(value).length === 0 && !JSON.stringify(value).includes('${'));
  fc.assert(
    fc.property(plain, (value) => {
      const body = JSON.parse(JSON.stringify({ title: value }));
      assert.deepEqual(fill(overlay(body, {}), {}), body);
    }),
  );
});

test('values: defaults, types, what is missing and what is unknown', () => {
  const inputs = [
    input('model', { isRequired: true, defaultValue: 'small' }),
    input('cpus', { type: 'number', defaultValue: 2 }),
    input('size', { type: 'select', options: ['s', 'l'], defaultValue: 's' }),
    input('token', { type: 'secret', isRequired: true }),
    input('key', { type: 'ssh_key' }),
  ];
  assert.deepEqual(valuesOf(inputs, { token: 't' }), {
    values: { model: 'small', cpus: 2, size: 's', token: 't' },
    problems: [],
  });
  const { problems } = valuesOf(inputs, { cpus: '2', size: 'm', other: 1 });
  assert.deepEqual(
    problems.map(({ key }) => key),
    ['cpus', 'size', 'token', 'other'],
  );
});

test('values: keys that every object has are keys like any other', () => {
  const inputs = [input('constructor'), input('toString', { isRequired: true })];
  assert.deepEqual(
    valuesOf(inputs, {}).problems.map(({ key }) => key),
    ['toString'],
  );
  assert.deepEqual(fill({ title: 'a${constructor}b', n: '${toString}' }, {}), { title: 'ab', n: null });
});

test('values: what a form sends for nothing is the default, but a text may be emptied', () => {
  const inputs = [
    input('cpus', { type: 'number', defaultValue: 2 }),
    input('size', { type: 'select', options: ['s', 'l'], defaultValue: 's' }),
    input('part', { type: 'select', options: ['', 'x'], isRequired: true }),
    input('text', { defaultValue: 'some' }),
    input('key', { type: 'ssh_key', defaultValue: 'ssh-ed25519 AAAA me' }),
  ];
  assert.deepEqual(valuesOf(inputs, { cpus: '', size: '', part: '', text: '', key: '' }), {
    values: { cpus: 2, size: 's', part: '', text: '', key: '' },
    problems: [],
  });
  assert.deepEqual(
    valuesOf([input('name', { isRequired: true })], { name: '' }).problems.map(({ key }) => key),
    ['name'],
  );
});

test('values: an SSH key is public keys, one a line', () => {
  const takes = (text: string) =>
    valuesOf([input('key', { type: 'ssh_key' })], { key: text }).problems.length === 0;
  const keys = [
    'ssh-ed25519 AAAAC3Nz me@here',
    'ssh-rsa AAAAB3Nz==',
    'ecdsa-sha2-nistp256 AAAAE2Vj x',
    'sk-ssh-ed25519@openssh.com AAAAGnNr',
    'no-pty,command="x y" ssh-ed25519 AAAAC3Nz',
    '# two\nssh-ed25519 AAAAC3Nz a\r\n\nssh-rsa AAAAB3Nz b\n',
  ];
  for (const text of keys) assert.ok(takes(text), text);
  const others = ['hello', '-----BEGIN OPENSSH PRIVATE KEY-----', 'ssh-ed25519', 'ssh-rsa AAAA\nhello'];
  for (const text of others) assert.ok(!takes(text), text);
});

test('what no value fills is empty in a text and null in a field of its own', () => {
  const body = { cpu_count: '${n}', title: 'x${n}', parameters: { parameters: { stop_signal: '${n}' } } };
  assert.deepEqual(fill(body, {}), {
    cpu_count: null,
    title: 'x',
    parameters: { parameters: { stop_signal: '' } },
  });
});

test('overrides replace field by field, in the container and its env by name', () => {
  const container = { image: 'a', tag: '1', env: { A: '1', B: '2' }, ports: [1] };
  const stored = { title: 't', gpu_name: 'RTX 4090', parameters: { type: 'docker', parameters: container } };
  const laid = overlay(stored, {
    title: 'u',
    gpu_registry_uuid: 'id',
    parameters: { parameters: { tag: '2', env: { B: '3' }, ports: [2] } },
  });
  assert.deepEqual(laid, {
    title: 'u',
    gpu_name: null,
    gpu_registry_uuid: 'id',
    parameters: { type: 'docker', parameters: { image: 'a', tag: '2', env: { A: '1', B: '3' }, ports: [2] } },
  });
});

test('another kind of task takes its limits along, as older clients send them too', () => {
  const batch = { task: 'BATCH', max_timeout_run_ms: 60_000 };
  const persistent = { task: 'PERSISTENT', on_node_lost: 'replace' };
  assert.deepEqual(overlay(batch, { task: 'PERSISTENT' }), { task: 'PERSISTENT', max_timeout_run_ms: null });
  assert.deepEqual(overlay(batch, { max_timeout_run_ms: null }), batch);
  assert.deepEqual(overlay(persistent, { max_timeout_run_ms: null }), {
    ...persistent,
    max_timeout_run_ms: null,
  });
  assert.deepEqual(overlay(persistent, { task: 'BATCH', max_timeout_run_ms: 70_000 }), {
    ...{ task: 'BATCH', on_node_lost: null, max_timeout_run_ms: 70_000 },
  });
});

test('an image with a tag of its own leaves the tag out; another registry gets no credentials of the first', () => {
  const laid = (container: object, wanted: object) =>
    overlay({ parameters: { parameters: container } }, { parameters: { parameters: wanted } }).parameters;
  assert.deepEqual(laid({ image: 'a', tag: '1' }, { image: 'b:2' }), {
    parameters: { image: 'b:2', tag: null },
  });
  const stored = { image: 'hub.example.com/a', user: 'u', secret: 's' };
  assert.deepEqual(laid(stored, { image: 'hub.example.com/b' }), {
    parameters: { ...stored, image: 'hub.example.com/b' },
  });
  const away = { user: null, secret: null };
  for (const image of ['evil.example.com/a', 'localhost/a', 'a', 'library/a'])
    assert.deepEqual(laid(stored, { image }), { parameters: { image, ...away } });
  assert.deepEqual(laid(stored, { host: 'evil.example.com' }), {
    parameters: { ...stored, host: 'evil.example.com', ...away },
  });
  assert.deepEqual(laid(stored, { host: 'other.example.com', user: 'v', secret: 't' }), {
    parameters: { ...stored, host: 'other.example.com', user: 'v', secret: 't' },
  });
});

test('places are told by path, and the env variables of secrets by name', () => {
  const body = { parameters: { parameters: { env: { A: 'x${s}', 'B.C': '${s}' }, command: ['${n}'] } } };
  assert.deepEqual(placesIn(body), [
    { key: 's', path: 'parameters.parameters.env.A' },
    { key: 's', path: 'parameters.parameters.env.B.C' },
    { key: 'n', path: 'parameters.parameters.command[0]' },
  ]);
  assert.deepEqual(envNamesOf(body, new Set(['s'])), ['A', 'B.C']);
});
