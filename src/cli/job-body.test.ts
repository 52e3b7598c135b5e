// From command line to create body: every option lands in its field, nothing else appears.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Compile } from 'typebox/compile';
import { ContainerParameters, CreateJobBody } from '../protocol/job.ts';
import {
  bodyFromImage,
  checkPublicKey,
  defaultRunTimeoutMs,
  jsonOnlyFields,
  parseEnv,
  parseEnvFile,
  parseLabel,
  parseVolume,
  withOptions,
} from './job-body.ts';

const busybox = { image: 'busybox', tag: 'latest' };
const schema = Compile(CreateJobBody);

test('an image alone is a BATCH job with a title and a run timeout', () => {
  assert.deepEqual(bodyFromImage(busybox, [], {}), {
    task: 'BATCH',
    title: 'busybox',
    max_timeout_run_ms: defaultRunTimeoutMs,
    parameters: { type: 'docker', parameters: busybox },
  });
});

test('a PERSISTENT job has no run timeout', () => {
  const body = bodyFromImage(busybox, [], { task: 'PERSISTENT' });
  assert.equal(body.task, 'PERSISTENT');
  assert.equal('max_timeout_run_ms' in body, false);
});

test('the title is made of the image name and the command, cut by characters', () => {
  const image = { image: 'host:5000/team/tool', tag: '1' };
  assert.equal(bodyFromImage(image, ['sh', '-c', 'a\n  b'], {}).title, 'tool sh -c a b');
  const long = bodyFromImage(busybox, ['🚀'.repeat(80)], {}).title ?? '';
  assert.equal([...long].length, 64);
  assert.ok(long.isWellFormed() && long.endsWith('…'));
  assert.equal(bodyFromImage(image, ['x'], { title: 'mine' }).title, 'mine');
});

const gpuRegistryUuid = '019582a6-27fc-731d-8000-000000000001';

test('every option lands in its field, the body satisfies the schema, and no field is forgotten', () => {
  const body = bodyFromImage(busybox, ['echo', 'hi'], {
    title: 't',
    description: 'd',
    cpu: 0.5,
    ramGb: 2,
    storageGb: 3,
    gpus: 1,
    gpuName: 'RTX 4090',
    gpuRegistryUuid,
    vramGb: 24,
    env: { A: '1' },
    ports: [8080],
    labels: { team: 'x' },
    sshKey: 'ssh-ed25519 AAAA',
    allowedIps: ['10.0.0.0/8'],
    volumes: [{ image: 'team/model', tag: '2', mount: '/model' }],
    timeoutMs: 900_000,
    startTimeoutMs: 120_000,
    startTimeoutWaitsForPull: true,
    assignTimeoutMs: 300_000,
    retries: 2,
    onNodeLost: 'fail',
    maxCostUsd: 5,
    renewWithinMs: 600_000,
    idleTimeoutMs: 900_000,
    priority: -1,
    regions: ['eu-north-1'],
    registryHost: 'registry.example.com',
    registryUser: 'ada',
    registrySecret: 's3',
    entrypoint: ['/bin/sh'],
    stopSignal: 'SIGINT',
    stopGraceMs: 5_000,
  });
  assert.deepEqual(body, {
    task: 'BATCH',
    title: 't',
    description: 'd',
    cpu_count: 0.5,
    min_ram_gb: 2,
    min_storage_gb: 3,
    gpu_count: 1,
    gpu_name: 'RTX 4090',
    gpu_registry_uuid: gpuRegistryUuid,
    min_vram_gb: 24,
    max_timeout_run_ms: 900_000,
    max_timeout_start_ms: 120_000,
    start_timeout_waits_for_pull: true,
    max_timeout_assign_ms: 300_000,
    max_retry_count: 2,
    on_node_lost: 'fail',
    max_cost_usd: 5,
    renew_within_ms: 600_000,
    idle_timeout_ms: 900_000,
    priority: -1,
    allowed_region_codes: ['eu-north-1'],
    labels: { team: 'x' },
    parameters: {
      type: 'docker',
      parameters: {
        image: 'busybox',
        tag: 'latest',
        host: 'registry.example.com',
        user: 'ada',
        secret: 's3',
        ports: [8080],
        sshkey: 'ssh-ed25519 AAAA',
        allowed_ips: ['10.0.0.0/8'],
        volumes: [{ image: 'team/model', tag: '2', mount: '/model' }],
        entrypoint: ['/bin/sh'],
        stop_signal: 'SIGINT',
        stop_grace_ms: 5_000,
        env: { A: '1' },
        command: ['echo', 'hi'],
      },
    },
  });
  assert.deepEqual([...schema.Errors(body)], []);
  const set = [...Object.keys(body), ...Object.keys(body.parameters.parameters)];
  const known = [...Object.keys(CreateJobBody.properties), ...Object.keys(ContainerParameters.properties)];
  assert.deepEqual(
    known.filter((field) => !set.includes(field)).toSorted(),
    jsonOnlyFields.toSorted(),
    'a field is set by an option, or named in the help as one for a JSON body',
  );
});

test('options are laid over a JSON body; env and labels are merged', () => {
  const body: CreateJobBody = {
    title: 'from file',
    labels: { a: '1', b: '1' },
    parameters: { type: 'docker', parameters: { image: 'x', env: { K: '1', L: '1' }, command: ['old'] } },
  };
  assert.deepEqual(withOptions(body, [], {}), body);
  assert.deepEqual(
    withOptions(body, ['new'], { title: 'mine', env: { L: '2' }, labels: { b: '2' }, ports: [] }),
    {
      title: 'mine',
      labels: { a: '1', b: '2' },
      parameters: {
        type: 'docker',
        parameters: { image: 'x', env: { K: '1', L: '2' }, command: ['new'], ports: [] },
      },
    },
  );
});

test('env takes values as they stand, or from the environment', () => {
  assert.deepEqual(parseEnv('A=b=c ', {}), { A: 'b=c ' });
  assert.deepEqual(parseEnv('A=', {}), { A: '' });
  assert.deepEqual(parseEnv('HOME', { HOME: '/h' }), { HOME: '/h' });
  assert.throws(() => parseEnv('HOME', {}), /HOME is not set here: write HOME=VALUE/);
  assert.throws(() => parseEnv('=x', {}), /is not KEY=VALUE/);
  assert.deepEqual(parseEnvFile('# note\nA=1\r\n\n  # more\nB="2"\nA=3\n', {}), { A: '3', B: '"2"' });
});

test('a volume is an image and an absolute path', () => {
  assert.deepEqual(parseVolume('host:5000/team/model:2=/srv/a=b'), {
    image: 'host:5000/team/model',
    tag: '2',
    mount: '/srv/a=b',
  });
  assert.equal(parseVolume('model=/m').tag, 'latest');
  for (const text of ['model', 'model=m', '=/m', 'Model:1=/m']) assert.throws(() => parseVolume(text));
});

test('labels and SSH keys are checked', () => {
  assert.deepEqual(parseLabel('team=a=b'), { team: 'a=b' });
  assert.deepEqual(parseLabel('flag'), { flag: '' });
  assert.throws(() => parseLabel('a b=c'), /is not a label/);
  assert.equal(checkPublicKey('ssh-ed25519 AAAA me\n', 'f'), 'ssh-ed25519 AAAA me');
  assert.throws(
    () => checkPublicKey('-----BEGIN OPENSSH PRIVATE KEY-----', 'id'),
    /name the public one.*id\.pub/,
  );
  assert.throws(() => checkPublicKey('hello', 'f'), /f holds no SSH public key/);
});
