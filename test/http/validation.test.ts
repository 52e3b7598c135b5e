// A create body is checked whole: every rule, every wrong field in one answer, nothing coerced and nothing dropped.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { aJob } from '../support/builders.ts';
import { startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin, database } = server;

const base = 'parameters.parameters';
const long = (length: number) => 'x'.repeat(length);

/** Overrides of a good job, the path that is wrong by them, and what the answer expects there. */
const wrong: [fields: Parameters<typeof aJob>[0], path: string, expected: RegExp][] = [
  [{ task: 'SERVICE' }, 'task', /BATCH, PERSISTENT/],
  [{ task: null }, 'task', /string/],
  [{ title: 7 }, 'title', /string/],
  [{ title: long(257) }, 'title', /at most 256/],
  [{ description: long(4097) }, 'description', /at most 4096/],
  [{ cpu_count: '4' }, 'cpu_count', /number/],
  [{ cpu_count: -1 }, 'cpu_count', />= 0/],
  [{ cpu_count: 5000 }, 'cpu_count', /<= 4096/],
  [{ cpu_count: true }, 'cpu_count', /number/],
  [{ gpu_count: 1.5 }, 'gpu_count', /integer/],
  [{ gpu_count: '1' }, 'gpu_count', /integer/],
  [{ gpu_count: 2000 }, 'gpu_count', /<= 1024/],
  [{ gpu_name: ['RTX'] }, 'gpu_name', /string/],
  [{ gpu_registry_uuid: 'rtx' }, 'gpu_registry_uuid', /./],
  [
    { gpu_name: 'RTX 4090', gpu_registry_uuid: '0198ac1c-7063-4be8-8000-000000000000' },
    'gpu_registry_uuid',
    /absent when gpu_name/,
  ],
  [{ min_ram_gb: -0.5 }, 'min_ram_gb', />= 0/],
  [{ min_ram_gb: 1e300 }, 'min_ram_gb', /<= 1000000/],
  [{ min_storage_gb: '10' }, 'min_storage_gb', /number/],
  [{ min_storage_gb: 1e9 }, 'min_storage_gb', /<= 10000000/],
  [{ min_vram_gb: {} }, 'min_vram_gb', /number/],
  [{ min_vram_gb: 1e6 }, 'min_vram_gb', /<= 100000/],
  [{ max_node_count: 0 }, 'max_node_count', />= 1/],
  [{ max_retry_count: -1 }, 'max_retry_count', />= 0/],
  [{ max_retry_count: 0.5 }, 'max_retry_count', /integer/],
  [{ max_retry_count: 1001 }, 'max_retry_count', /<= 1000/],
  [{ task: 'PERSISTENT', max_timeout_run_ms: null, on_node_lost: 'move' }, 'on_node_lost', /fail, replace/],
  [{ on_node_lost: 'replace' }, 'on_node_lost', /BATCH job/],
  [{ max_timeout_assign_ms: 299_999 }, 'max_timeout_assign_ms', />= 300000/],
  [{ max_timeout_start_ms: 119_999 }, 'max_timeout_start_ms', />= 120000/],
  [{ max_timeout_run_ms: 59_999 }, 'max_timeout_run_ms', />= 60000/],
  [{ max_timeout_run_ms: '60000' }, 'max_timeout_run_ms', /integer/],
  [{ max_timeout_run_ms: 60_000.5 }, 'max_timeout_run_ms', /integer/],
  [{ max_timeout_run_ms: null }, 'max_timeout_run_ms', /BATCH/],
  [{ max_timeout_run_ms: undefined }, 'max_timeout_run_ms', /BATCH/],
  [{ max_timeout_run_ms: 1e15 }, 'max_timeout_run_ms', /<= /],
  [{ task: 'PERSISTENT', max_timeout_run_ms: 60_000 }, 'max_timeout_run_ms', /PERSISTENT/],
  [{ allowed_region_codes: 'us-east-1' }, 'allowed_region_codes', /array/],
  [{ allowed_region_codes: ['us-east-1', 'moon-1'] }, 'allowed_region_codes[1]', /region code/],
  [{ allowed_region_codes: [1] }, 'allowed_region_codes[0]', /string/],
  [{ allowed_region_codes: ['us-east-1', 'us-east-1'] }, 'allowed_region_codes', /twice/],
  [{ image_size_bytes: -1 }, 'image_size_bytes', />= 0/],
  [{ labels: ['a'] }, 'labels', /object/],
  [{ labels: { a: 1 } }, 'labels.a', /string/],
  [{ labels: { 'ä b': 'x' } }, 'labels.ä b', /letters/],
  [{ labels: { a: long(257) } }, 'labels.a', /256/],
  [{ labels: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${i}`, 'v'])) }, 'labels', /64/],
  [{ priority: 1001 }, 'priority', /<= 1000/],
  [{ priority: 0.5 }, 'priority', /integer/],
  [{ recipe_uuid: '0198ac1c-7063-4be8-8000-000000000000' }, 'recipe_uuid', /recipe/],
  [{ parameters: undefined }, 'parameters', /value/],
  [{ parameters: 'docker' }, 'parameters', /object/],
  [{ parameters: { type: 'podman', parameters: { image: 'a' } } }, 'parameters.type', /docker/],
  [{ parameters: { parameters: { image: 'a' } } }, 'parameters.type', /value/],
  [{ parameters: { type: 'docker' } }, base, /value/],
  [{ container: { image: undefined } }, `${base}.image`, /value/],
  [{ container: { image: '' } }, `${base}.image`, /at least 1/],
  [{ container: { image: null } }, `${base}.image`, /string/],
  [{ container: { image: 'Upper/Case' } }, `${base}.image`, /image name/],
  [{ container: { image: 'a b' } }, `${base}.image`, /image name/],
  [{ container: { image: 'a@sha256:00' } }, `${base}.image`, /digest/],
  [{ container: { image: 'a:b', tag: 'c' } }, `${base}.tag`, /tag inside image/],
  [{ container: { image: 'a', tag: 'b c' } }, `${base}.tag`, /tag/],
  [{ container: { image: 'a:b/' } }, `${base}.image`, /image/],
  [{ container: { host: 'https://registry' } }, `${base}.host`, /without scheme/],
  [{ container: { host: 'r.example', image: 'r.example/a' } }, `${base}.image`, /without the registry host/],
  [{ container: { secret: 'x' } }, `${base}.user`, /user/],
  [{ container: { secret: '***', user: 'u' } }, `${base}.secret`, /\*\*\*/],
  [{ container: { ports: [0] } }, `${base}.ports[0]`, />= 1/],
  [{ container: { ports: [65_536] } }, `${base}.ports[0]`, /<= 65535/],
  [{ container: { ports: ['80'] } }, `${base}.ports[0]`, /integer/],
  [{ container: { ports: [80, 80] } }, `${base}.ports`, /twice/],
  [{ container: { ports: 80 } }, `${base}.ports`, /array/],
  [{ container: { env: { A: 1 } } }, `${base}.env.A`, /string/],
  [{ container: { env: { A: null } } }, `${base}.env.A`, /string/],
  [{ container: { env: { 'A=B': 'x' } } }, `${base}.env.A=B`, /without =/],
  [{ container: { env: { '': 'x' } } }, `${base}.env.`, /name/],
  [{ container: { env: { FLOTILLA_X: 'x' } } }, `${base}.env.FLOTILLA_X`, /reserved/],
  [{ container: { env: { A: '***' } } }, `${base}.env.A`, /\*\*\*/],
  [{ container: { env: { A: long(70_000), B: long(70_000) } } }, `${base}.env`, /bytes in all/],
  [{ container: { env: ['A=1'] } }, `${base}.env`, /object/],
  [{ container: { sshkey: 1 } }, `${base}.sshkey`, /string/],
  [{ container: { allowed_ips: ['10.0.0.0/33'] } }, `${base}.allowed_ips[0]`, /CIDR/],
  [{ container: { allowed_ips: ['::1', 'home'] } }, `${base}.allowed_ips[1]`, /CIDR/],
  [{ container: { allowed_ips: '0.0.0.0/0' } }, `${base}.allowed_ips`, /array/],
  [{ container: { command: 'echo hi' } }, `${base}.command`, /array/],
  [{ container: { command: [1] } }, `${base}.command[0]`, /string/],
  [{ container: { entrypoint: [''] } }, `${base}.entrypoint[0]`, /program/],
  [{ container: { stop_signal: 'kill it' } }, `${base}.stop_signal`, /signal/],
  [{ container: { stop_signal: '65' } }, `${base}.stop_signal`, /signal/],
  [{ container: { stop_grace_ms: 300_001 } }, `${base}.stop_grace_ms`, /<= 300000/],
  [{ container: { stop_grace_ms: '10' } }, `${base}.stop_grace_ms`, /integer/],
];

for (const [fields, path, expected] of wrong) {
  test(`${JSON.stringify(fields).slice(0, 80)} is wrong at ${path}`, async () => {
    const issues = await admin.issues('POST', '/v1/jobs', { body: aJob(fields) });
    assert.deepEqual([...issues.keys()], [path]);
    assert.match(issues.get(path)?.expected ?? '', expected);
  });
}

/** Every limit itself is within it. */
const right: Parameters<typeof aJob>[0][] = [
  { cpu_count: 4096, gpu_count: 1024, min_ram_gb: 1e6, min_storage_gb: 1e7, min_vram_gb: 1e5 },
  { max_timeout_assign_ms: 300_000, max_timeout_start_ms: 120_000, max_timeout_run_ms: 60_000 },
  { title: long(256), description: long(4096), max_node_count: 1, max_retry_count: 1000, priority: -1000 },
  { priority: 1000, labels: { a: long(256), [`k${long(127)}`]: '' } },
  { container: { ports: [1, 65_535], env: { 'with space': 'x', [long(255)]: '' } } },
  {
    container: { allowed_ips: ['0.0.0.0/0', '::/0', '127.0.0.1', '::ffff:1.2.3.4'], stop_grace_ms: 300_000 },
  },
  { container: { image: 'ghcr.io/owner/name__x/y.z', tag: long(128), stop_signal: 'SIGRTMIN+3' } },
  { container: { stop_signal: '9', command: [''], entrypoint: [] } },
];
for (const fields of right) {
  test(`${JSON.stringify(fields).slice(0, 80)} is accepted`, async () => {
    const job = await admin.createJob(aJob(fields));
    assert.equal(job.status, 'PENDING');
  });
}

const misspelt: [fields: Parameters<typeof aJob>[0], path: string, hint: RegExp | null][] = [
  [{ cpu_counts: 4 }, 'cpu_counts', /cpu_count/],
  [{ maxTimeoutRunMs: 4 }, 'maxTimeoutRunMs', /max_timeout_run_ms/],
  [{ min_ram: 4 }, 'min_ram', /min_ram_gb/],
  [{ tittle: 'x' }, 'tittle', /title/],
  [{ container: { prots: [80] } }, `${base}.prots`, /ports/],
  [{ container: { enviroment: {} } }, `${base}.enviroment`, null],
  [{ parameters: { type: 'docker', parameters: { image: 'a' }, kind: 1 } }, 'parameters.kind', null],
  [{ something_else_entirely: 1 }, 'something_else_entirely', null],
];
for (const [fields, path, hint] of misspelt) {
  test(`the unknown field ${path} is refused${hint === null ? '' : ' with the nearest known one'}`, async () => {
    const issue = (await admin.issues('POST', '/v1/jobs', { body: aJob(fields) })).get(path);
    assert.equal(issue?.expected, 'no such field');
    if (hint === null) assert.ok(!issue.hint?.includes('did you mean') || issue.hint !== '');
    else assert.match(issue.hint ?? '', hint);
  });
}

test('every wrong field comes in one answer, the first of them in its sentence', async () => {
  const body = aJob({
    ...{
      task: 'SERVICE',
      cpu_count: '4',
      gpu_count: -1,
      min_ram_gb: null,
      max_retry_count: 0.1,
      tittle: 'x',
    },
    ...{ gpu_name: 'RTX 4090', gpu_registry_uuid: '0198ac1c-7063-4be8-8000-000000000000' },
    ...{ allowed_region_codes: ['moon-1'], labels: { a: 1 }, max_timeout_run_ms: 1 },
    container: {
      image: 'A B',
      ports: [0, 99_999],
      env: { A: 1, FLOTILLA_B: 'x' },
      allowed_ips: ['home'],
      sshky: 1,
    },
  });
  const { details, message } = await admin.refusal('POST', '/v1/jobs', { body });
  const paths = (details as { path: string }[]).map((issue) => issue.path).sort();
  assert.deepEqual(
    paths,
    [
      ...['task', 'cpu_count', 'gpu_count', 'max_retry_count', 'tittle', 'gpu_registry_uuid'],
      ...['allowed_region_codes[0]', 'labels.a', 'max_timeout_run_ms', `${base}.image`, `${base}.ports[0]`],
      ...[
        `${base}.ports[1]`,
        `${base}.env.A`,
        `${base}.env.FLOTILLA_B`,
        `${base}.allowed_ips[0]`,
        `${base}.sshky`,
      ],
    ].sort(),
  );
  assert.ok(message.length < 300, 'clients show 300 characters');
  assert.match(message, /and 15 more/);
});

test('a body that is no object is refused', async () => {
  for (const raw of ['[]', '"x"', '7', 'true', 'null', '']) {
    const refusal = await admin.refusal('POST', '/v1/jobs', { raw });
    assert.equal(refusal.code, 'validation_failed', raw);
  }
});

test('a refusal does not repeat what may be secret', async () => {
  const body = aJob({
    container: { secret: 'very-hidden', env: { A: ['very-hidden'], FLOTILLA_T: 'very-hidden' } },
  });
  const { text } = await admin.send('POST', '/v1/jobs', { body });
  assert.ok(!text.includes('very-hidden'));
});

test('a node is registered with a name of its own, and its wrong fields are told', async () => {
  const body = { name: 'my machine', region_code: 'moon', labels: { a: 1 }, gpu: 1 };
  const issues = await admin.issues('POST', '/v1/nodes', { body });
  assert.deepEqual([...issues.keys()].sort(), ['gpu', 'labels.a', 'name']);
  assert.deepEqual(
    [...(await admin.issues('POST', '/v1/nodes', { body: { name: 'a', region_code: 'moon' } })).keys()],
    ['region_code'],
  );
  await admin.ask('POST', '/v1/nodes', {
    body: { name: 'a', region_code: 'eu-central-1', labels: { x: 'y' } },
  });
  const again = await admin.refusal('POST', '/v1/nodes', { body: { name: 'a' } });
  assert.deepEqual([again.status, again.code], [409, 'conflict']);
});

test('no refused body left a row', async () => {
  const [row] = await database.query<{ total: number }>('select count(*) as total from jobs');
  assert.equal(row?.total, right.length);
});
