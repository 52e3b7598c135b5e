// Cook yields exactly what create yields: random bodies, their fields spread over payload, overrides and inputs, row by row.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { secretsOwner } from '../../src/db/job-rows.ts';
import type { Job } from '../../src/protocol/job.ts';
import type { Recipe } from '../../src/protocol/recipe.ts';
import { startTestServer } from '../support/server.ts';
import { cookCase } from './support/cook-cases.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin } = server;
const { account, vault } = server.storage;
const caseCount = 120;

function withoutOrigin(job: Job) {
  const { uuid, created_at, updated_at, timeout_assign_at_ms, source_recipe_uuid, ...rest } = job;
  const { source_recipe_version, ...fields } = rest;
  return fields;
}

/** As `withoutOrigin`, with the env variables of secrets hidden. */
function withHidden(job: ReturnType<typeof withoutOrigin>, names: readonly string[]) {
  const { parameters } = job.parameters;
  const env = { ...parameters.env, ...Object.fromEntries(names.map((name) => [name, '***'])) };
  return { ...job, parameters: { ...job.parameters, parameters: { ...parameters, env } } };
}

interface JobRow extends Record<string, unknown> {
  sealed: Buffer | null;
  container: Record<string, unknown>;
  created_at: number;
  timeout_assign_at: number;
}

/** Every column but ids, times, origin and transaction; the secrets opened. */
async function storedOf(uuid: string) {
  const [row] = await server.database.query<JobRow>('select * from jobs where id = $1', [uuid]);
  assert.ok(row);
  const {
    id,
    created_at,
    updated_at,
    timeout_assign_at,
    source_recipe_uuid,
    source_recipe_version,
    ...rest
  } = row;
  const { sealed, container, changed_in, ...columns } = rest;
  const { secret_env_names = [], ...plain } = container;
  const owner = secretsOwner(account.id, uuid);
  return {
    secretNames: secret_env_names as string[],
    stored: {
      ...{ ...columns, container: plain, assignMs: timeout_assign_at - created_at },
      secrets: sealed === null ? null : JSON.parse(vault.open(sealed, owner)),
    },
  };
}

test('cook makes the same job and the same row as create, wherever each field comes from', async () => {
  const seen = { overrides: 0, inputs: 0, secrets: 0, budgets: 0, sealed: 0 };
  await fc.assert(
    fc.asyncProperty(cookCase, async ({ body, recipe, cook, secretNames }) => {
      const { uuid } = await admin.ask<Recipe>('POST', '/v1/job-recipes', { body: recipe });
      const cooked = await admin.ask<Job>('POST', `/v1/job-recipes/${uuid}/cook`, { body: cook });
      const created = await admin.createJob(body);
      const expected = (job: Job) => withHidden(withoutOrigin(job), secretNames);
      assert.deepEqual(withoutOrigin(cooked), expected(created));
      const read = await admin.getJob(created.uuid);
      assert.deepEqual(withoutOrigin(await admin.getJob(cooked.uuid)), expected(read));
      assert.deepEqual([cooked.source_recipe_uuid, cooked.source_recipe_version], [uuid, 1]);
      const [fromRecipe, fromBody] = [await storedOf(cooked.uuid), await storedOf(created.uuid)];
      assert.deepEqual(fromRecipe.stored, fromBody.stored);
      assert.deepEqual(fromRecipe.secretNames.sort(), [...secretNames].sort());
      seen.overrides += Number(Object.keys(cook).length > 1);
      seen.inputs += Number((recipe.input_schema ?? []).length > 0);
      seen.secrets += Number(secretNames.length > 0);
      seen.budgets += Number('max_cost_usd' in body);
      seen.sealed += Number(fromBody.stored.secrets !== null);
    }),
    { numRuns: caseCount },
  );
  for (const [what, count] of Object.entries(seen)) assert.ok(count > caseCount / 40, `${what}: ${count}`);
});
