// Create bodies: what becomes of a good one, and that every rule refuses a bad one with its field's path.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ApiError } from './errors.ts';
import { addressList, isAddressRange, readJobRequest } from './job-request.ts';

type Json = Record<string, unknown>;
const aBody = (job: Json = {}, container: Json = {}): Json => ({
  max_timeout_run_ms: 60_000,
  ...job,
  parameters: { type: 'docker', parameters: { image: 'busybox', ...container } },
});
const specOf = (job: Json = {}, container: Json = {}) => readJobRequest(aBody(job, container)).spec;

function wrongPaths(body: unknown): string[] {
  try {
    readJobRequest(body);
    return [];
  } catch (error) {
    assert.ok(error instanceof ApiError && error.status === 400, String(error));
    return (error.details as { path: string }[]).map(({ path }) => path);
  }
}
const wrongOf = (job: Json = {}, container: Json = {}) => wrongPaths(aBody(job, container));

test('the smallest body is a BATCH job with the documented defaults', () => {
  const spec = specOf();
  assert.deepEqual(
    [
      spec.task,
      spec.maxTimeoutAssignMs,
      spec.maxTimeoutStartMs,
      spec.maxRetryCount,
      spec.maxNodeCount,
      spec.priority,
    ],
    ['BATCH', 300_000, 300_000, 0, 1, 0],
  );
  assert.deepEqual(
    [spec.container.image, spec.container.tag, spec.container.ports],
    ['busybox', 'latest', null],
  );
});

test('what a lost node means: BATCH has no word for it, PERSISTENT fails unless it may be retried or says so', () => {
  const policyOf = (fields: Json) =>
    specOf({ max_timeout_run_ms: null, task: 'PERSISTENT', ...fields }).onNodeLost;
  assert.equal(specOf({ max_retry_count: 2 }).onNodeLost, null);
  assert.deepEqual(
    [
      {},
      { max_retry_count: 1 },
      { on_node_lost: 'replace' },
      { on_node_lost: 'fail', max_retry_count: 1 },
    ].map(policyOf),
    ['fail', 'replace', 'replace', 'fail'],
  );
  assert.deepEqual(wrongOf({ on_node_lost: 'replace' }), ['on_node_lost']);
});

test('the empty strings of official samples mean absent', () => {
  const empty = { host: '', user: '', secret: '', sshkey: '', imagesrc: '', tag: '', stop_signal: '' };
  const { container, requirements } = specOf({ gpu_name: '', gpu_registry_uuid: '', description: '' }, empty);
  assert.deepEqual(
    [
      container.host,
      container.user,
      container.secret,
      container.sshkey,
      container.imagesrc,
      container.stopSignal,
    ],
    [null, null, null, null, null, null],
  );
  assert.equal(container.tag, 'latest');
  assert.deepEqual([requirements.gpuName, requirements.gpuRegistryUuid], [null, null]);
});

test('null means absent, and an empty port list stays one', () => {
  const { container } = specOf({ title: null, cpu_count: null }, { env: null, ports: [], allowed_ips: null });
  assert.deepEqual([container.env, container.ports, container.allowedIps], [{}, [], []]);
});

test('the run timeout belongs to BATCH, and the minimums are inclusive', () => {
  assert.deepEqual(wrongPaths({ parameters: { type: 'docker', parameters: { image: 'a' } } }), [
    'max_timeout_run_ms',
  ]);
  assert.deepEqual(wrongOf({ max_timeout_run_ms: null }), ['max_timeout_run_ms']);
  assert.deepEqual(wrongOf({ max_timeout_run_ms: 59_999 }), ['max_timeout_run_ms']);
  assert.deepEqual(wrongOf({ task: 'PERSISTENT' }), ['max_timeout_run_ms']);
  assert.equal(specOf({ task: 'PERSISTENT', max_timeout_run_ms: null }).maxTimeoutRunMs, null);
  assert.deepEqual(wrongOf({ max_timeout_assign_ms: 300_000, max_timeout_start_ms: 120_000 }), []);
  assert.deepEqual(wrongOf({ max_timeout_assign_ms: 299_999, max_timeout_start_ms: 119_999 }), [
    'max_timeout_assign_ms',
    'max_timeout_start_ms',
  ]);
});

const uuid = '3c90c3cc-0d44-4b50-8888-8dd25736052a';
const refused: readonly [why: string, job: Json, container: Json, path: string][] = [
  ['two ways to name a GPU', { gpu_name: 'RTX 4090', gpu_registry_uuid: uuid }, {}, 'gpu_registry_uuid'],
  ['an id that is no uuid', { gpu_registry_uuid: '7' }, {}, 'gpu_registry_uuid'],
  ['half a GPU', { gpu_count: 0.5 }, {}, 'gpu_count'],
  ['less than no CPU', { cpu_count: -0.1 }, {}, 'cpu_count'],
  ['absurd sizes', { min_ram_gb: 1e9 }, {}, 'min_ram_gb'],
  ['numbers as text', { cpu_count: '4' }, {}, 'cpu_count'],
  ['an unknown region', { allowed_region_codes: ['eu-west-1', 'mars-1'] }, {}, 'allowed_region_codes[1]'],
  ['a region twice', { allowed_region_codes: ['eu-west-1', 'eu-west-1'] }, {}, 'allowed_region_codes'],
  ['a recipe', { recipe_uuid: uuid }, {}, 'recipe_uuid'],
  ['a label key with a space', { labels: { 'my team': 'a' } }, {}, 'labels.my team'],
  ['a long label', { labels: { team: 'x'.repeat(257) } }, {}, 'labels.team'],
  ['a label that is no text', { labels: { team: 1 } }, {}, 'labels.team'],
  ['a port beyond the range', {}, { ports: [65_536] }, 'parameters.parameters.ports[0]'],
  ['a port twice', {}, { ports: [80, 80] }, 'parameters.parameters.ports'],
  ['an env name with =', {}, { env: { 'A=B': 'x' } }, 'parameters.parameters.env.A=B'],
  ['an env name without letters', {}, { env: { '': 'x' } }, 'parameters.parameters.env.'],
  [
    'a reserved env name',
    {},
    { env: { FLOTILLA_RUN_UUID: 'x' } },
    'parameters.parameters.env.FLOTILLA_RUN_UUID',
  ],
  ['a masked env value', {}, { env: { TOKEN: '***' } }, 'parameters.parameters.env.TOKEN'],
  ['an env value that is no text', {}, { env: { A: 1 } }, 'parameters.parameters.env.A'],
  ['too much env', {}, { env: { A: 'é'.repeat(70_000) } }, 'parameters.parameters.env'],
  ['a masked secret', {}, { user: 'me', secret: '***' }, 'parameters.parameters.secret'],
  ['a secret without its user', {}, { secret: 'x' }, 'parameters.parameters.user'],
  ['a host with a scheme', {}, { host: 'https://a.example' }, 'parameters.parameters.host'],
  ['the host twice', {}, { host: 'a.example', image: 'a.example/b' }, 'parameters.parameters.image'],
  ['an image with capitals', {}, { image: 'BusyBox' }, 'parameters.parameters.image'],
  ['an image by digest', {}, { image: `a@sha256:${'0'.repeat(64)}` }, 'parameters.parameters.image'],
  ['an image with a space', {}, { image: 'busy box' }, 'parameters.parameters.image'],
  ['an image that climbs', {}, { image: '../etc' }, 'parameters.parameters.image'],
  ['a tag that contradicts the image', {}, { image: 'a:1', tag: '2' }, 'parameters.parameters.tag'],
  ['an empty inline tag', {}, { image: 'a:' }, 'parameters.parameters.image'],
  ['a tag with a slash', {}, { tag: 'a/b' }, 'parameters.parameters.tag'],
  ['a CIDR beyond its family', {}, { allowed_ips: ['10.0.0.0/33'] }, 'parameters.parameters.allowed_ips[0]'],
  ['an empty program', {}, { entrypoint: [''] }, 'parameters.parameters.entrypoint[0]'],
  ['a signal that no system has', {}, { stop_signal: 'SIGFOO' }, 'parameters.parameters.stop_signal'],
  ['signal 0', {}, { stop_signal: '0' }, 'parameters.parameters.stop_signal'],
  [
    'a volume at a path that is not absolute',
    {},
    { volumes: [{ image: 'a', mount: 'm' }] },
    'parameters.parameters.volumes[0].mount',
  ],
];
for (const [why, job, container, path] of refused) {
  test(`refused: ${why}`, () => assert.deepEqual(wrongOf(job, container), [path]));
}

test('accepted: images, tags, hosts, signals and addresses of every usual form', () => {
  for (const image of [
    'busybox:1.36',
    'ghcr.io/owner/name',
    'localhost:5000/a/b:x_Y.1-z',
    'a__b/c-d.e',
    '127.0.0.1:80/a',
  ])
    assert.deepEqual(wrongOf({}, { image }), [], image);
  for (const stop_signal of ['SIGTERM', 'INT', 'SIGRTMIN+3', 'RTMAX-2', '15', 'SIGUSR1'])
    assert.deepEqual(wrongOf({}, { stop_signal }), [], stop_signal);
  for (const host of ['registry.example.com', 'localhost:5000', '10.0.0.1:443'])
    assert.deepEqual(wrongOf({}, { host, user: 'u', secret: 's' }), [], host);
  assert.deepEqual(
    wrongOf({}, { allowed_ips: ['0.0.0.0/0', '127.0.0.1', '::/0', '::ffff:10.0.0.1', 'fe80::1/64'] }),
    [],
  );
});

test('the tag may stand inside the image, and a colon before the last slash is a port', () => {
  const partsOf = (image: string, tag?: string) => {
    const { container } = specOf({}, { image, ...(tag === undefined ? {} : { tag }) });
    return [container.image, container.tag];
  };
  assert.deepEqual(partsOf('busybox:1.36'), ['busybox', '1.36']);
  assert.deepEqual(partsOf('busybox:1.36', '1.36'), ['busybox', '1.36']);
  assert.deepEqual(partsOf('localhost:5000/a'), ['localhost:5000/a', 'latest']);
  assert.deepEqual(partsOf('localhost:5000/a:2'), ['localhost:5000/a', '2']);
});

test('every wrong field of a body is named in one answer', () => {
  const paths = wrongOf(
    { cpu_count: -1, gpu_name: 'a', gpu_registry_uuid: uuid, colour: 'red' },
    { image: 'A', ports: [0] },
  );
  assert.deepEqual(paths.toSorted(), [
    'colour',
    'cpu_count',
    'gpu_registry_uuid',
    'parameters.parameters.image',
    'parameters.parameters.ports[0]',
  ]);
});

test('anything that is no object is refused as a body', () => {
  for (const body of [null, [], 'a', 3, undefined]) assert.ok(wrongPaths(body).length > 0);
});

test('a broken field never breaks the reading of the others', () => {
  const field = fc.constantFrom(
    'task',
    'labels',
    'gpu_name',
    'allowed_region_codes',
    'max_timeout_run_ms',
    'parameters',
  );
  const inner = fc.constantFrom(
    'image',
    'tag',
    'env',
    'allowed_ips',
    'volumes',
    'entrypoint',
    'stop_signal',
    'host',
  );
  fc.assert(
    fc.property(
      fc.dictionary(field, fc.jsonValue({ maxDepth: 2 })),
      fc.dictionary(inner, fc.jsonValue({ maxDepth: 2 })),
      (job, container) => {
        wrongPaths({ ...aBody({}, container), ...job });
      },
    ),
    { numRuns: 500 },
  );
});

test('an accepted range is one that a list of addresses can hold, and it holds its own address', () => {
  const version4 = fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 }));
  const version6 = fc.tuple(fc.ipV6(), fc.integer({ min: 0, max: 128 }));
  fc.assert(
    fc.property(fc.oneof(version4, version6), fc.boolean(), ([address, bits], isBare) => {
      const range = isBare ? address : `${address}/${bits}`;
      assert.ok(isAddressRange(range), range);
      assert.ok(addressList([range]).check(address, address.includes(':') ? 'ipv6' : 'ipv4'));
    }),
  );
  for (const wrong of [
    '',
    '/',
    '1.2.3',
    '1.2.3.4/',
    '1.2.3.4/-1',
    '1.2.3.4/8/8',
    'fe80::1%eth0',
    '::/129',
    'a.example',
  ])
    assert.equal(isAddressRange(wrong), false, wrong);
});
