// Official recipes on real containers: images made here stand in for the public ones, by overriding image and tag alone.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import type { Recipe } from '../../src/protocol/recipe.ts';
import type { Client } from '../../src/sdk/client.ts';
import { accessTokenImage, importReferenceImages, sshBaseImage } from '../support/images/reference-images.ts';
import { modelsAnswer } from '../support/images/root-files.ts';
import { needsDocker } from './support/docker.ts';
import { makeSshKey, OpenSsh } from './support/open-ssh.ts';
import { createPlace, onlyRunOf, type Place, untilStatus } from './support/place.ts';
import { readyUrlOf } from './support/reference-jobs.ts';

const run = promisify(execFile);
let place: Place;
let client: Client;

before(async () => {
  if (needsDocker.skip) return;
  importReferenceImages();
  place = createPlace();
  await place.up();
  client = place.client();
});
after(() => place?.remove());

async function official(name: string): Promise<Recipe> {
  const { data } = await client.recipes.list({ filter: { is_official: 'true', name } });
  return data[0] ?? assert.fail(`${name} is shipped`);
}

test('SSH box: the key that was filled in logs in at the job’s node_urls', needsDocker, async () => {
  const { uuid } = await official('SSH box');
  const key = makeSshKey(place.folder);
  const job = await client.recipes.cook(uuid, {
    inputs: { ssh_key: key.publicKey },
    parameters: { parameters: sshBaseImage },
  });
  const running = await untilStatus(client, job.uuid, 'RUNNING');
  assert.deepEqual(
    running.node_urls.map(({ description }) => description),
    ['ssh'],
  );
  const ssh = await OpenSsh.open(await readyUrlOf(client, job.uuid, 'ssh'), 'duser', key);
  assert.equal(await ssh.run('id -un'), 'duser');
  const stopped = await client.jobs.cancel(job.uuid, { stop_grace_ms: 500, wait_ms: 20_000 });
  assert.equal(stopped.status, 'CANCELLED');
});

test(
  'llama.cpp server: its endpoint_url answers to the access token, and to no other',
  needsDocker,
  async () => {
    const { uuid } = await official('llama.cpp server');
    // This machine has no GPU: what the recipe asks of one is left out as well.
    const job = await client.recipes.cook(uuid, {
      ...{ gpu_count: 0, min_vram_gb: 0, min_ram_gb: 0, min_storage_gb: 0 },
      parameters: { parameters: accessTokenImage },
    });
    await untilStatus(client, job.uuid, 'RUNNING');
    await readyUrlOf(client, job.uuid, '5000');
    const { endpoint_url: endpoint, container_access_tokens: tokens } = await client.jobs.get(job.uuid);
    const [access] = tokens;
    assert.ok(endpoint && access);
    const curl = async (user: string) => {
      const args = ['-sS', '--max-time', '10', '-w', ' %{http_code}', '-u', user, `${endpoint}/v1/models`];
      return (await run('curl', args)).stdout;
    };
    assert.equal(await curl(`${access.user}:${access.token}`), `${modelsAnswer} 200`);
    assert.match(await curl(`${access.user}:wrong`), / 401$/);
    const { node_urls: urls } = await onlyRunOf(client, job.uuid);
    assert.deepEqual(
      urls.map(({ description }) => description),
      ['5000', 'ssh'],
    );
    await client.jobs.cancel(job.uuid, { stop_grace_ms: 500, wait_ms: 20_000 });
  },
);
