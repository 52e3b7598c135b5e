// Official recipes as they come: each cooks with {}, finds its node, and is reached as its quickstart says.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { officialRecipes, shipOfficialRecipes } from '../../src/api/official-recipes.ts';
import { defaultGatewaySettings } from '../../src/main/gateway-settings.ts';
import type { Job } from '../../src/protocol/job.ts';
import type { Node } from '../../src/protocol/node.ts';
import type { Recipe } from '../../src/protocol/recipe.ts';
import { HandAgent } from '../support/agent.ts';
import { anInventory } from '../support/builders.ts';
import { eventually, startTestServer } from '../support/server.ts';

const ports = { from: 21_430, to: 21_450 };
const gateway = { ...defaultGatewaySettings, ports, listenHost: '127.0.0.6' };
const server = await startTestServer({ gateway });
const { admin } = server;
const body = { name: 'workstation', region_code: 'eu-central-1' };
type NewNode = Node & { key: { public_key: string; secret_key: string } };
const { key } = await admin.ask<NewNode>('POST', '/v1/nodes', { body });
const agent = await HandAgent.dial(server.client({ publicKey: key.public_key, secretKey: key.secret_key }));
await agent.greet({ inventory: anInventory({ cpus: 32, ramGb: 128, storageGb: 1000, gpus: 4 }) });
after(() => agent.close());

/** Ports as quickstarts name them, and whether they speak of the access token. */
const reached: Record<string, { urls: string[]; hasToken: boolean }> = {
  'llama.cpp server': { urls: ['5000', 'ssh'], hasToken: true },
  'SSH box': { urls: ['ssh'], hasToken: false },
  JupyterLab: { urls: ['8888'], hasToken: true },
  ComfyUI: { urls: ['8188'], hasToken: false },
  'PyTorch batch': { urls: [], hasToken: false },
};

for (const { id, name, quickstartMd } of officialRecipes) {
  test(`${name} cooks with {}, is placed, and has the ports of its quickstart`, async () => {
    const expected = reached[name] ?? assert.fail(`${name} is described here`);
    const job = await admin.ask<Job>('POST', `/v1/job-recipes/${id}/cook`, { body: {} });
    const order = await eventually('its order', async () => {
      const { runs } = await agent.next('desired');
      return runs.find((run) => run.job_uuid === job.uuid);
    });
    const named = job.parameters.parameters.ports ?? assert.fail('an official recipe names its ports');
    const running = {
      kind: 'running',
      started_ms_ago: 0,
      image_digest: null,
      image_size_bytes: null,
    } as const;
    await agent.report(order, { ...running, ports: named });
    const seen = await eventually('RUNNING', async () => {
      const now = await admin.getJob(job.uuid);
      return now.status === 'RUNNING' && now;
    });
    assert.deepEqual(
      seen.node_urls.map(({ description }) => description),
      expected.urls,
    );
    const [first] = seen.node_urls.filter(({ description }) => description !== 'ssh');
    assert.equal(seen.endpoint_url, first ? `http://${first.hostname}:${first.port}` : null);
    const [access] = seen.container_access_tokens;
    assert.ok(access?.token && access.user === 'duser');
    const text = quickstartMd ?? '';
    assert.equal(/container_access_tokens/.test(text), expected.hasToken, text);
    assert.equal(/endpoint_url/.test(text), first !== undefined, text);
    assert.equal(/node_urls/.test(text), name === 'SSH box', text);
    await admin.ask('PUT', `/v1/jobs/${job.uuid}/cancel`, { body: {} });
  });
}

test('an SSH key that is given reaches the box and the server of models', async () => {
  for (const name of ['SSH box', 'llama.cpp server']) {
    const { id } = officialRecipes.find((recipe) => recipe.name === name) ?? assert.fail(name);
    const sshkey = 'ssh-ed25519 AAAAC3Nz me@here';
    const cook = { title: 'with a key', inputs: { ssh_key: sshkey }, max_timeout_run_ms: null };
    const job = await admin.ask<Job>('POST', `/v1/job-recipes/${id}/cook`, { body: cook });
    assert.equal(job.parameters.parameters.sshkey, sshkey);
  }
});

test('they are the same after the next start, version and all', async () => {
  const { database, vault } = server.storage;
  await shipOfficialRecipes(database, vault);
  for (const { id } of officialRecipes)
    assert.equal((await admin.ask<Recipe>('GET', `/v1/job-recipes/${id}`)).version, 1);
});
