// The command line without a server: how options and environment reach the roles, and what wrong usage says.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { CreateJobBody } from '../protocol/job.ts';
import type { Io } from './io.ts';
import { jsonOnlyFields } from './job-body.ts';
import { runProgram } from './program.ts';
import type { Roles } from './roles.ts';

const folder = mkdtempSync(join(tmpdir(), 'flotilla-program-'));
after(() => rmSync(folder, { recursive: true }));

/** Runs one command; `asked` holds what the roles were asked for. */
async function flotilla(args: string[], env: Record<string, string> = {}, stdin = '') {
  const said = { stdout: '', stderr: '' };
  const asked: unknown[] = [];
  const role = async (options: unknown) => {
    asked.push(options);
    return 42;
  };
  const roles: Roles = {
    version: '1.2.3',
    up: role,
    server: role,
    nodeRun: role,
    clusterRestored: async (options) => {
      asked.push(options);
      return 7;
    },
    keyRecover: async () => ({ publicKey: 'pk_new', secretKey: 'sk_new', keyFile: null }),
  };
  const io: Io = {
    stdin: (async function* () {
      yield stdin;
    })(),
    stdout: { write: (text) => (said.stdout += text) },
    stderr: { write: (text) => (said.stderr += text) },
    env: { FLOTILLA_DATA_DIR: folder, ...env },
    homeDirectory: folder,
    isRoot: false,
    nowMs: () => 0,
    sleep: async () => {},
    onInterrupt: () => () => {},
  };
  const code = await runProgram(args, roles, io);
  return { code, asked, ...said };
}

const plainServer = {
  port: 7070,
  host: '127.0.0.1',
  dataDirectory: folder,
  databaseUrl: null,
  databaseDirectUrl: null,
  tls: null,
  isInsecureHttpAllowed: false,
  trustedProxies: [],
  drainDelayMs: 0,
  trustTenants: false,
  allowedWebhooks: [],
  lostAfterMs: null,
  gateway: {
    hostname: null,
    listenHost: null,
    ports: { from: 20_000, to: 29_999 },
    tls: null,
    isPlainAllowed: false,
    hasProxyProtocol: false,
    allowedRanges: [],
    advertisedUrl: null,
  },
  publicUrl: null,
  oidc: null,
};

test('up and server take options, then environment, then defaults, and end with the code of the role', async () => {
  const plain = await flotilla(['up']);
  assert.equal(plain.code, 42);
  const plainUp = {
    ...plainServer,
    isOnce: false,
    hasHello: true,
    dockerSocket: null,
    isLanAllowed: false,
    allowedRegistries: [],
    imageCacheBytes: null,
    stateDirectory: null,
    publicHost: null,
    stopWhenCutOffMs: null,
  };
  assert.deepEqual(plain.asked, [plainUp]);
  assert.deepEqual((await flotilla(['up', '--allow-lan', '--trust-tenants'])).asked, [
    { ...plainUp, isLanAllowed: true, trustTenants: true },
  ]);
  const env = {
    FLOTILLA_PORT: '8000',
    FLOTILLA_HOST: '::1',
    DATABASE_URL: 'postgres://x',
    DATABASE_DIRECT_URL: 'postgres://y',
    FLOTILLA_DATA_DIR: '/e',
  };
  const urls = { databaseUrl: 'postgres://x', databaseDirectUrl: 'postgres://y' };
  assert.deepEqual((await flotilla(['server'], env)).asked, [
    { ...plainServer, port: 8000, host: '::1', dataDirectory: '/e', ...urls },
  ]);
  const flags =
    '--port 0 --host 10.0.0.1 --data-dir /d --tls-cert c --tls-key k --insecure-http --trusted-proxy a --trusted-proxy b --drain-delay 5s';
  assert.deepEqual(
    (await flotilla(['up', '--once', '--no-hello', '--docker-socket', '/s', ...flags.split(' ')], env)).asked,
    [
      {
        port: 0,
        host: '10.0.0.1',
        dataDirectory: '/d',
        ...urls,
        tls: { certFile: 'c', keyFile: 'k' },
        isInsecureHttpAllowed: true,
        trustedProxies: ['a', 'b'],
        drainDelayMs: 5_000,
        trustTenants: false,
        allowedWebhooks: [],
        lostAfterMs: null,
        ...{ gateway: plainServer.gateway, publicUrl: null, oidc: null },
        isOnce: true,
        hasHello: false,
        dockerSocket: '/s',
        isLanAllowed: false,
        allowedRegistries: [],
        imageCacheBytes: null,
        stateDirectory: null,
        publicHost: null,
        stopWhenCutOffMs: null,
      },
    ],
  );
  assert.deepEqual((await flotilla(['server', '--node-lost-after', '90s'])).asked, [
    { ...plainServer, lostAfterMs: 90_000 },
  ]);
});

test('the gateway takes its options, then environment, and refuses what clients cannot reach', async () => {
  const flags =
    '--gateway-host jobs.example --gateway-listen 10.0.0.2 --gateway-ports 30000-30009 --gateway-tls-cert c ' +
    '--gateway-tls-key k --gateway-plain-too --gateway-proxy-protocol --gateway-allow 10.0.0.0/8 ' +
    '--advertise-url https://one.example:7070/';
  const [asked] = (await flotilla(['server', ...flags.split(' ')])).asked as { gateway: object }[];
  assert.deepEqual(asked?.gateway, {
    hostname: 'jobs.example',
    listenHost: '10.0.0.2',
    ports: { from: 30_000, to: 30_009 },
    tls: { certFile: 'c', keyFile: 'k' },
    isPlainAllowed: true,
    hasProxyProtocol: true,
    allowedRanges: ['10.0.0.0/8'],
    advertisedUrl: 'https://one.example:7070',
  });
  const env = { FLOTILLA_GATEWAY_HOST: 'env.example', FLOTILLA_GATEWAY_PORTS: '40000-40001' };
  const [fromEnv] = (await flotilla(['server'], env)).asked as { gateway: object }[];
  assert.deepEqual(fromEnv?.gateway, {
    ...plainServer.gateway,
    hostname: 'env.example',
    ports: { from: 40_000, to: 40_001 },
  });
  const refused: [string[], RegExp][] = [
    [['--gateway-host', '0.0.0.0'], /Name a host that clients can connect to/],
    [['--gateway-ports', '9-1'], /two ports such as 20000-29999/],
    [['--gateway-tls-cert', 'c'], /both --gateway-tls-cert and --gateway-tls-key/],
    [['--advertise-url', 'flotilla'], /must be a URL/],
  ];
  for (const [options, message] of refused)
    assert.match((await flotilla(['server', ...options])).stderr, message);
  const up = async (...options: string[]) =>
    ((await flotilla(['up', ...options])).asked as { publicHost: string | null }[])[0]?.publicHost;
  assert.equal(await up('--ingress', 'direct'), '');
  assert.equal(await up('--ingress', 'direct', '--public-host', 'gpu-1.example'), 'gpu-1.example');
  assert.match((await flotilla(['up', '--public-host', 'x'])).stderr, /goes with --ingress direct/);
  assert.match((await flotilla(['up', '--ingress', 'side'])).stderr, /must be gateway or direct/);
});

test('node run reads the key file that register writes', async () => {
  const file = join(folder, 'node.json');
  const key = { public_key: 'pk_n', secret_key: 'sk_n', url: 'http://h:1', node_uuid: 'u' };
  writeFileSync(file, JSON.stringify(key));
  const expected = [
    {
      key: { url: 'http://h:1', publicKey: 'pk_n', secretKey: 'sk_n', nodeUuid: 'u', ca: null },
      serverUrls: ['http://h:1'],
      dockerSocket: null,
      isLanAllowed: false,
      allowedRegistries: [],
      imageCacheBytes: null,
      stateDirectory: null,
      publicHost: null,
      stopWhenCutOffMs: null,
    },
  ];
  assert.deepEqual((await flotilla(['node', 'run', '--node-key', file])).asked, expected);
  assert.deepEqual((await flotilla(['node', 'run', '--node-key', file, '--allow-lan'])).asked, [
    { ...expected[0], isLanAllowed: true },
  ]);
  assert.deepEqual(
    (await flotilla(['node', 'run', '--node-key', file, '--stop-when-cut-off', '10m'])).asked,
    [{ ...expected[0], stopWhenCutOffMs: 600_000 }],
  );
  assert.deepEqual((await flotilla(['node', 'run'], { FLOTILLA_NODE_KEY_FILE: file })).asked, expected);
  const servers = ['--server', 'https://a:1,https://b:2/', '--server', 'http://c:3'];
  assert.deepEqual((await flotilla(['node', 'run', '--node-key', file, ...servers])).asked, [
    { ...expected[0], serverUrls: ['https://a:1', 'https://b:2', 'http://c:3'] },
  ]);
  const env = { FLOTILLA_NODE_KEY_FILE: file, FLOTILLA_SERVERS: 'https://a:1, https://b:2' };
  assert.deepEqual((await flotilla(['node', 'run'], env)).asked, [
    { ...expected[0], serverUrls: ['https://a:1', 'https://b:2'] },
  ]);
  for (const wrong of [
    await flotilla(['node', 'run', '--node-key', file, '--server', 'a:1']),
    await flotilla(['node', 'run'], { ...env, FLOTILLA_SERVERS: 'https://a:1,b' }),
  ])
    assert.match(wrong.stderr, /must be the address of a server such as https/);
  assert.match(
    (await flotilla(['node', 'run'])).stderr,
    /^flotilla: Name the key file of this node with --node-key/,
  );
  writeFileSync(file, JSON.stringify({ ...key, node_uuid: undefined }));
  assert.match((await flotilla(['node', 'run', '--node-key', file])).stderr, /is no node's key file/);
});

test('cluster restored names the data, and says what every node waits for', async () => {
  const { asked, stdout } = await flotilla(['cluster', 'restored', '--data-dir', '/d']);
  assert.deepEqual(asked, [{ dataDirectory: '/d', databaseUrl: null, databaseDirectUrl: null }]);
  assert.match(stdout, /generation is 7: every node waits for "flotilla node accept-restore"/);
});

test('wrong usage is exit code 1 and says what was meant', async () => {
  const cases: [string[], RegExp, Record<string, string>?][] = [
    [['job', 'lsit'], /unknown command 'lsit'\n\(Did you mean list\?\)/],
    [['job', 'list', '--stats', 'x'], /unknown option '--stats'\n\(Did you mean --status\?\)/],
    [['up', '--port', '99999'], /'--port <port>' argument '99999' is invalid\. It must be a port/],
    [['up'], /FLOTILLA_PORT is "abc": it must be a port/, { FLOTILLA_PORT: 'abc' }],
    [['server'], /DATABASE_DIRECT_URL goes with DATABASE_URL/, { DATABASE_DIRECT_URL: 'postgres://y' }],
    [['up', '--tls-cert', 'x'], /Give both --tls-cert and --tls-key/],
    [['job', 'submit', 'x', '--timeout', '90'], /"90" is not a duration/],
    [['job', 'submit', 'x', '--task', 'ONCE'], /Allowed choices are BATCH, PERSISTENT/],
    [['job', 'submit', 'x', '--volume', 'model'], /"model" is not a volume: write IMAGE:TAG=/],
    [['job', 'submit'], /Say what to run/],
    [['job', 'submit', 'a@sha256:00'], /names a digest/],
    [['job', 'submit', join(folder, 'absent.json')], /Cannot read .*absent\.json: there is no such file/],
    [['job', 'stop'], /Say which jobs to stop: by uuid, by filters such as --status PENDING, or --all/],
    [['job', 'list'], /No key found in .*: start a server here with "flotilla up"/],
  ];
  for (const [args, message, env] of cases) {
    const { code, stdout, stderr, asked } = await flotilla(args, env);
    assert.deepEqual([code, stdout, asked], [1, '', []], args.join(' '));
    assert.match(stderr, message);
  }
});

test('what is not a job on stdin is refused before anything is sent', async () => {
  assert.match((await flotilla(['job', 'submit', '-'], {}, '{"a":')).stderr, /stdin is not JSON: /);
  assert.match((await flotilla(['job', 'submit', '-'], {}, '[]')).stderr, /stdin must hold one JSON object/);
});

/** Runs one command against a server that answers everything with `answer`; also the last body it was sent. */
async function flotillaAt(answer: object, args: string[]) {
  let body = '';
  const server = createServer((request, response) => {
    body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => response.end(JSON.stringify(answer)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const file = join(folder, 'key.json');
  writeFileSync(
    file,
    JSON.stringify({ public_key: 'pk', secret_key: 'sk', url: `http://127.0.0.1:${port}` }),
  );
  const said = await flotilla([...args, '--key-file', file]);
  server.closeAllConnections();
  server.close();
  return { ...said, body };
}

const someUuid = '019582a6-27fc-731d-8000-000000000001';

test('the rarer options of job submit reach the server in their fields', async () => {
  const flags = `--start-timeout-waits-for-pull --gpu-registry-uuid ${someUuid} --volume a/b=/one --volume c:2=/two`;
  const job = { uuid: 'u', status: 'PENDING' };
  const { stdout, stderr, body } = await flotillaAt(job, ['job', 'submit', 'x', ...flags.split(' ')]);
  assert.equal(stdout, 'u\n', stderr);
  const { parameters, ...sent } = JSON.parse(body) as CreateJobBody;
  assert.deepEqual(
    [sent.start_timeout_waits_for_pull, sent.gpu_registry_uuid, sent.gpu_count],
    [true, someUuid, 1],
  );
  assert.deepEqual(parameters.parameters.volumes, [
    { image: 'a/b', tag: 'latest', mount: '/one' },
    { image: 'c', tag: '2', mount: '/two' },
  ]);
});

test('node get says what the agent could not read or enforce', async () => {
  const gpu = { name: 'T4', vram_gb_max: 16, is_allocated: false, uuid: 'GPU-1' };
  const node = {
    ...{
      uuid: someUuid,
      name: 'gpu-1',
      status: 'ready',
      status_reason: null,
      last_seen_at: null,
      drain: null,
    },
    ...{ region_code: null, labels: {}, cpus: [], rams: [], hard_drives: [], job_run_count: 0, orphans: [] },
    ...{ isolation: 'none', agent_version: '1', reputation: 50, latest_hardware_event: null },
    gpus: [{ ...gpu, is_quarantined: true, quarantine_reason: 'GPU GPU-1: it is no longer there.' }],
    current_hardware: { isolation_note: 'no iptables here', gpu_note: 'GPU 1 is in MIG mode.' },
  };
  const { stdout, stderr } = await flotillaAt(node, ['node', 'get', someUuid]);
  assert.match(stdout, /^Isolation: +none: no iptables here\nGPU driver: +GPU 1 is in MIG mode\.$/m, stderr);
  assert.match(stdout, /^ {2}quarantined {2}T4 {2}16 GB {2}GPU GPU-1: it is no longer there\.$/m);
});

test('help and version go to stdout with exit code 0', async () => {
  assert.deepEqual(await flotilla(['--version']), { code: 0, asked: [], stdout: '1.2.3\n', stderr: '' });
  const commands = ['', 'up', 'server', 'node register', 'node run', 'node list', 'node get', 'job submit'];
  commands.push(
    'job list',
    'job get',
    'job logs',
    'job stop',
    'job receipt',
    'job wait',
    'key create',
    'key list',
    'key revoke',
    'key recover',
  );
  for (const command of commands) {
    const { code, stdout } = await flotilla([...command.split(' ').filter(Boolean), '--help']);
    assert.equal(code, 0);
    assert.match(stdout, /^Examples?:\n {2}\S/m, `${command} --help shows no example`);
  }
  const submitHelp = (await flotilla(['job', 'submit', '--help'])).stdout;
  for (const field of jsonOnlyFields) assert.match(submitHelp, new RegExp(`no option go there:[^]*${field}`));
  assert.match((await flotilla(['job', 'wait', '--help'])).stdout, /^ {2}8 +the time for waiting is up/m);
});

test('key recover shows the new key', async () => {
  assert.equal((await flotilla(['key', 'recover'])).stdout, 'public_key: pk_new\nsecret_key: sk_new\n');
});
