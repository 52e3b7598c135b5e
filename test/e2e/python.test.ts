// A foreign client, Python's standard library alone, against the real program: every way of signing, one life of a job each.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { needsDocker } from './support/docker.ts';
import { createPlace, type Place } from './support/place.ts';

const run = promisify(execFile);
const clientFile = resolve(import.meta.dirname, '../support/python-client/flotilla_client.py');

let place: Place;

before(async () => {
  place = createPlace();
  if (!needsDocker.skip) await place.up();
});
after(() => place.remove());

/** The client's own account of what it saw; it checks each step itself and ends with 1 when one is wrong. */
async function exercise(variant: string, options: readonly string[]) {
  const keyFile = join(place.dataDirectory, 'admin-key.json');
  const args = [clientFile, '--key-file', keyFile, '--variant', variant, ...options, 'exercise'];
  const { stdout } = await run('python3', args, { timeout: 120_000 });
  return JSON.parse(stdout);
}

const variants = ['V1', 'V1b', 'V2', 'V3', 'V4', 'V5', 'WHATWG'];
const exercises: readonly [variant: string, options: readonly string[]][] = [
  ...variants.map((variant): [string, string[]] => [variant, []]),
  ['V1', ['--loose-wire']],
  ['V3', ['--loose-wire']],
];

describe('create, list, get, runs, logs and cancel', { concurrency: 3, ...needsDocker }, () => {
  for (const [variant, options] of exercises) {
    test([variant, ...options].join(' '), async () => {
      const outcome = await exercise(variant, options);
      assert.deepEqual(
        [outcome.variant, outcome.created_status, outcome.status, outcome.cancelled_status],
        [variant, 'PENDING', 'COMPLETED', 'CANCELLED'],
      );
      assert.match(outcome.logs, /hello {2}world ~\*!'\(\)/);
      assert.match(outcome.logs, /err/);
    });
  }
});
