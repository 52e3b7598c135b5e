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
    values: { model: 'small', cpus: 2, size: 's', token: 't', key: '' },
    problems: [],
  });
  const { problems } = valuesOf(inputs, { cpus: '2', size: 'm', other: 1 });
  assert.deepEqual(
    problems.map(({ key }) => key),
    ['cpus', 'size', 'token', 'other'],
  );
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

test('places are told by path, and the env variables of secrets by name', () => {
  const body = { parameters: { parameters: { env: { A: 'x${s}', 'B.C': '${s}' }, command: ['${n}'] } } };
  assert.deepEqual(placesIn(body), [
    { key: 's', path: 'parameters.parameters.env.A' },
    { key: 's', path: 'parameters.parameters.env.B.C' },
    { key: 'n', path: 'parameters.parameters.command[0]' },
  ]);
  assert.deepEqual(envNamesOf(body, new Set(['s'])), ['A', 'B.C']);
});
