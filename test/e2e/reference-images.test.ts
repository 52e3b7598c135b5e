// Images as people already have them for this API run unchanged: access token behind port 5000, duser and sshd on demand.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import type { CreateJobBody, NodeUrl } from '../../src/protocol/job.ts';
import type { Client } from '../../src/sdk/client.ts';
import { accessTokenImage, importReferenceImages, sshBaseImage } from '../support/images/reference-images.ts';
import { modelsAnswer } from '../support/images/root-files.ts';
import { containersOf, docker, needsDocker } from './support/docker.ts';
import { completeLog, createPlace, onlyRunOf, type Place, untilStatus } from './support/place.ts';
import { aService, readyUrlOf } from './support/reference-jobs.ts';

const run = promisify(execFile);
type Container = CreateJobBody['parameters']['parameters'];

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

/** What clients of the reference send: every optional field present and empty. */
function asSampled(job: Partial<CreateJobBody>, container: Container): CreateJobBody {
  const empty = { tag: '', host: '', user: '', secret: '', sshkey: '', imagesrc: '' };
  return {
    title: 'test-batch-1',
    description: '',
    cpu_count: 0,
    gpu_count: 0,
    min_ram_gb: 0,
    min_storage_gb: 0,
    min_vram_gb: 0,
    max_node_count: 1,
    max_retry_count: 0,
    allowed_region_codes: [],
    ...job,
    parameters: {
      type: 'docker',
      parameters: { ...empty, env: {}, volumes: [], allowed_ips: [], ...container },
    },
  };
}

/** Status, the Server header and the body, as curl has them. */
async function curl({ hostname, port }: NodeUrl, user: string) {
  const url = `http://${hostname}:${port}/v1/models`;
  const { stdout } = await run('curl', ['-sS', '-i', '--max-time', '10', '-u', user, url]);
  const [head = '', body = ''] = stdout.split('\r\n\r\n');
  return { status: Number(head.split(' ')[1]), server: /^Server: (.*)$/im.exec(head)?.[1]?.trim(), body };
}

test(
  'the API behind port 5000 takes the access token that Flotilla made, and no other',
  needsDocker,
  async () => {
    const body = asSampled(
      { task: 'PERSISTENT', max_timeout_run_ms: null },
      { ...accessTokenImage, ports: [5000] },
    );
    const { uuid } = await client.jobs.create(body);
    const job = await untilStatus(client, uuid, 'RUNNING');
    const { container_access_tokens: tokens } = await onlyRunOf(client, uuid);
    assert.deepEqual(job.container_access_tokens, tokens, 'job and run say the same');
    const [access, ...others] = tokens;
    assert.ok(access);
    assert.deepEqual([access.user, others], ['duser', []]);
    // Unquoted in the image's shell, it must come through as it is.
    assert.match(access.token, /^[A-Za-z0-9]{20,}$/);
    const url = await readyUrlOf(client, uuid, '5000');
    const right = await curl(url, `${access.user}:${access.token}`);
    assert.deepEqual([right.status, right.body], [200, modelsAnswer]);
    const wrong = await curl(url, `duser:${access.token}x`);
    assert.equal(wrong.status, 401);
    assert.match(wrong.server ?? '', /^nginx/, 'the image itself refuses');
    const stopped = await client.jobs.cancel(uuid, { wait_ms: 20_000 });
    assert.deepEqual(stopped.container_access_tokens, []);
    assert.deepEqual((await onlyRunOf(client, uuid)).container_access_tokens, []);
  },
);

test('every run has a token of its own', needsDocker, async () => {
  const body = aService({ ...sshBaseImage, ports: [] });
  const uuids = await Promise.all([0, 1].map(async () => (await client.jobs.create(body)).uuid));
  const tokens = new Set<string>();
  for (const uuid of uuids) {
    await untilStatus(client, uuid, 'RUNNING');
    const [{ token } = { token: '' }] = (await onlyRunOf(client, uuid)).container_access_tokens;
    const [container] = await containersOf(uuid);
    const inside = await docker('exec', container?.id ?? '', 'sh', '-c', 'echo $CONTAINER_ACCESS_TOKEN');
    assert.equal(inside, token, 'the container has what the API shows');
    tokens.add(token);
  }
  assert.equal(tokens.size, uuids.length);
  await Promise.all(uuids.map((uuid) => client.jobs.cancel(uuid, { wait_ms: 20_000 })));
});

test('the base image starts no sshd when there is no SSH key', needsDocker, async () => {
  const withoutKey = asSampled({ task: 'PERSISTENT', max_timeout_run_ms: null }, { ...sshBaseImage });
  const { uuid } = await client.jobs.create(withoutKey);
  await untilStatus(client, uuid, 'RUNNING');
  const [container] = await containersOf(uuid);
  assert.ok(container);
  const programs = async () => docker('exec', container.id, 'ps', '-o', 'user,args');
  assert.match(await programs(), /^duser +sleep infinity$/m);
  assert.doesNotMatch(await programs(), /sshd/);
  const environment = await docker('exec', container.id, 'env');
  assert.doesNotMatch(environment, /^SSH_PUBKEY/m, 'an empty key is no key');
  const { node_urls: urls } = await onlyRunOf(client, uuid);
  assert.deepEqual(
    urls.map(({ description, ready }) => [description, ready]),
    [
      ['5000', false],
      ['ssh', false],
    ],
    'published as the image says, and nothing answers',
  );
  await client.jobs.cancel(uuid, { wait_ms: 20_000 });
});

test('a batch job with every optional field empty runs to its end', needsDocker, async () => {
  const sample = asSampled(
    { task: 'BATCH', max_timeout_run_ms: 900_000 },
    { image: 'busybox', command: ['echo', 'done'] },
  );
  const { uuid } = await client.jobs.create(sample);
  const job = await client.jobs.wait(uuid);
  assert.equal(job.status, 'COMPLETED', job.status_reason ?? '');
  assert.equal(await completeLog(client, (await onlyRunOf(client, uuid)).uuid), 'done\n');
  const { parameters } = job.parameters;
  assert.deepEqual(
    [parameters.tag, parameters.host, parameters.secret, parameters.sshkey, parameters.volumes],
    ['latest', '', '', '', []],
  );
});
