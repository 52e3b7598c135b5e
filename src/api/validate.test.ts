// What a wrong body is told: every field, once, with its path and without echoing what may be secret.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import Type from 'typebox';
import { CancelJobBody, CreateJobBody } from '../protocol/job.ts';
import { Timestamp, Uuid } from '../protocol/schema.ts';
import { ApiError } from './errors.ts';
import { bodyCheck, describe, dotted } from './validate.ts';

const create = bodyCheck(CreateJobBody);
const cancel = bodyCheck(CancelJobBody);

test('every wrong field is named in one answer', () => {
  const issues = create.issues({
    task: 'BATCHES',
    cpu_count: -1,
    title: 7,
    parameters: { type: 'podman', parameters: { image: '', ports: [80, 80, 0], env: { A: 1 } } },
  });
  const byPath = new Map(issues.map((issue) => [issue.path, issue.expected]));
  assert.equal(byPath.get('task'), 'one of BATCH, PERSISTENT');
  assert.equal(byPath.get('cpu_count'), 'a number >= 0');
  assert.equal(byPath.get('title'), 'a string or null');
  assert.equal(byPath.get('parameters.type'), '"docker"');
  assert.equal(byPath.get('parameters.parameters.image'), 'at least 1 characters');
  assert.equal(byPath.get('parameters.parameters.ports[2]'), 'a number >= 1');
  assert.equal(byPath.get('parameters.parameters.ports'), 'no value twice');
  assert.equal(byPath.get('parameters.parameters.env.A'), 'a string');
});

test('a text in a wrong form is told once, by the name of the form', () => {
  const check = bodyCheck(
    Type.Object({
      uuid: Uuid,
      email: Type.String({ title: 'an e-mail address', pattern: '@' }),
      at: Timestamp,
    }),
  );
  assert.deepEqual(
    check.issues({ uuid: 'x', email: 'x', at: 'x' }).map(({ path, expected }) => [path, expected]),
    [
      ['uuid', 'a UUID'],
      ['email', 'an e-mail address'],
      ['at', 'a time, such as 2026-01-31T12:00:00Z'],
    ],
  );
});

test('an unknown field is told once, with its nearest known name', () => {
  const issues = create.issues({
    cpucount: 1,
    parameters: { type: 'docker', parameters: { image: 'a', comand: [] } },
  });
  assert.deepEqual(issues.map(({ path, hint }) => [path, hint]).toSorted(), [
    ['cpucount', 'did you mean cpu_count?'],
    ['parameters.parameters.comand', 'did you mean command?'],
  ]);
});

test('what is missing is named with its path', () => {
  assert.deepEqual(create.issues({ parameters: { type: 'docker' } }), [
    { path: 'parameters.parameters', expected: 'a value', received: 'nothing' },
  ]);
  assert.deepEqual(create.issues({}), [{ path: 'parameters', expected: 'a value', received: 'nothing' }]);
});

test('an absent body reads as an empty one, and a wrong kind of body is told', () => {
  assert.deepEqual(cancel.parse(undefined), {});
  assert.deepEqual(cancel.parse(null), {});
  for (const body of [[], 'stop', 5, true]) {
    assert.throws(
      () => cancel.parse(body),
      (error) =>
        error instanceof ApiError && error.status === 400 && /body: expected an object/.test(error.message),
    );
  }
});

test('any JSON is either valid or refused with a 400 that names a field, and never quoted', () => {
  const marker = 'h0nt-geheim';
  const value = fc.jsonValue({ maxDepth: 3 });
  const field = fc.constantFrom(
    'task',
    'title',
    'env',
    'secret',
    'parameters',
    'labels',
    '__proto__',
    'a/b~c',
    marker,
  );
  const body = fc.oneof(
    value,
    fc.dictionary(field, fc.oneof(value, fc.constant(marker)), { noNullPrototype: true }),
  );
  fc.assert(
    fc.property(body, (candidate) => {
      const issues = create.issues(candidate);
      assert.ok(issues.length > 0, 'nothing random is a job');
      for (const issue of issues) {
        assert.ok(issue.path.length > 0 && issue.expected.length > 0);
        assert.ok(!issue.received?.includes(marker));
      }
      assert.equal(new Set(issues.map((issue) => `${issue.path} ${issue.expected}`)).size, issues.length);
    }),
    { numRuns: 500 },
  );
});

test('no value is turned into another kind', () => {
  for (const body of [
    { wait_ms: '5' },
    { wait_ms: true },
    { wait_ms: 1.5 },
    { reason: 3 },
    { wait_ms: [1] },
  ]) {
    assert.equal(cancel.issues(body).length, 1, JSON.stringify(body));
  }
  assert.deepEqual(cancel.issues({ reason: null, wait_ms: null, stop_grace_ms: 0 }), []);
});

test('limits are inclusive', () => {
  assert.deepEqual(cancel.issues({ wait_ms: 60_000, stop_grace_ms: 300_000, reason: 'x'.repeat(1024) }), []);
  assert.equal(
    cancel.issues({ wait_ms: 60_001, stop_grace_ms: 300_001, reason: 'x'.repeat(1025) }).length,
    3,
  );
});

test('a pointer reads as a path', () => {
  assert.equal(dotted('/parameters/ports/0'), 'parameters.ports[0]');
  assert.equal(dotted('/a~1b/c~0d'), 'a/b.c~d');
  assert.equal(dotted(''), 'body');
});

test('a description never holds the text itself', () => {
  assert.equal(describe('secret'), 'a string of 6 characters');
  assert.equal(describe({ secret: 1 }), 'an object');
  assert.equal(describe(['secret']), 'an array of 1');
  assert.equal(describe(undefined), 'nothing');
});
