// The command line against a real server, node and Docker Engine: what a person types, sees and gets as exit code.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

const main = resolve(import.meta.dirname, '../../src/main.ts');
const folder = mkdtempSync(join(tmpdir(), 'flotilla-cli-'));
const environment = { ...process.env, FLOTILLA_DATA_DIR: join(folder, 'data') };
const needsDocker = { skip: process.env.DOCKER_HOST ? false : 'needs a Docker Engine at DOCKER_HOST' };

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** A running `flotilla` command, or another program of the clone; `until` resolves when its output matches. */
function start(
  args: string[],
  options: { input?: string; env?: Record<string, string>; program?: string[] } = {},
) {
  const words = [...(options.program ?? [main]), ...args];
  const child = spawn(process.execPath, words, { env: { ...environment, ...options.env } });
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text;
  });
  child.stdin.end(options.input ?? '');
  const ended = new Promise<Ended>((resolveEnded) => {
    child.on('close', (code) => resolveEnded({ code, ...output }));
  });
  const until = async (pattern: RegExp) => {
    for (let tries = 0; tries < 600; tries += 1) {
      if (pattern.test(output.stdout) || pattern.test(output.stderr)) return;
      if (child.exitCode !== null) break;
      await delay(50);
    }
    assert.fail(`${pattern} did not appear in: ${output.stdout}\n${output.stderr}`);
  };
  return { child, ended, until };
}

async function run(args: string[], options: Parameters<typeof start>[1] = {}): Promise<Ended> {
  const { child, ended } = start(args, options);
  const timer = setTimeout(() => child.kill('SIGKILL'), 90_000);
  try {
    return await ended;
  } finally {
    clearTimeout(timer);
  }
}

/** stdout of a command that must succeed. */
async function ok(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(args);
  assert.equal(code, 0, `flotilla ${args.join(' ')}: ${stderr}`);
  return stdout;
}

async function job(uuid: string) {
  return JSON.parse(await ok('job', 'get', uuid, '--json'));
}

async function submitSleeper(...options: string[]): Promise<string> {
  const uuid = (
    await ok('job', 'submit', 'busybox', ...options, '--', 'sh', '-c', 'echo begun; sleep 600')
  ).trim();
  for (let tries = 0; tries < 300; tries += 1) {
    if ((await job(uuid)).status === 'RUNNING') return uuid;
    await delay(100);
  }
  return assert.fail(`Job ${uuid} did not start`);
}

let server: ReturnType<typeof start> | null = null;

before(async () => {
  if (needsDocker.skip) return;
  server = start(['up', '--no-hello', '--port', '0']);
  const keyFile = join(folder, 'data', 'admin-key.json');
  for (let tries = 0; tries < 600 && !existsSync(keyFile); tries += 1) await delay(100);
  for (let tries = 0; tries < 300; tries += 1) {
    const nodes = await run(['node', 'list', '--json']);
    if (nodes.code === 0 && nodes.stdout.includes('"ready"')) return;
    await delay(100);
  }
  server.child.kill('SIGKILL');
  const { stdout, stderr } = await server.ended;
  assert.fail(`The server and its node did not get ready:\n${stdout}\n${stderr}`);
});

after(async () => {
  if (server && server.child.exitCode === null) {
    server.child.kill('SIGINT');
    await server.ended;
  }
  rmSync(folder, { recursive: true, force: true });
});

test(
  'submit --wait shows the life of the job and its log, and ends with its outcome',
  needsDocker,
  async () => {
    const good = await run(['job', 'submit', 'busybox', '--wait', '--', 'echo', 'hi there']);
    assert.equal(good.code, 0, good.stderr);
    assert.equal(good.stdout, 'hi there\n');
    assert.match(good.stderr, /^Job [0-9a-f-]{36}\n(.*\n)*.*COMPLETED/);
    const bad = await run(['job', 'submit', 'busybox', '--wait', '--', 'sh', '-c', 'echo why; exit 3']);
    assert.equal(bad.code, 6, bad.stderr);
    assert.equal(bad.stdout, 'why\n');
    assert.match(bad.stderr, /FAILED: .*\b3\b/);
  },
);

test('a program on the SDK runs, follows and stops jobs', needsDocker, async () => {
  const example = (name: string, ...args: string[]) =>
    run(args, {
      program: ['--conditions=flotilla-source', resolve(import.meta.dirname, '../../examples', name)],
      env: { FLOTILLA_KEY_FILE: join(folder, 'data', 'admin-key.json') },
    });
  const good = await example('submit-and-wait.ts', 'busybox', 'echo', 'from the SDK');
  assert.match(good.stdout, /COMPLETED \nfrom the SDK\n$/);
  assert.equal(good.code, 0, good.stderr);
  const uuid = await submitSleeper();
  const following = example('follow-logs.ts', uuid);
  const stopped = await example('stop.ts', uuid);
  assert.match(stopped.stdout, /^CANCELLED verified\n/);
  assert.deepEqual(await following, { code: 0, stdout: 'begun\n', stderr: '6 bytes\n' });
  assert.equal(containersOf(uuid), '');
});

test('submit takes JSON from stdin and files, with options over it', needsDocker, async () => {
  const body = {
    title: 'from json',
    max_timeout_run_ms: 60_000,
    parameters: {
      type: 'docker',
      parameters: { image: 'busybox', env: { A: '1', B: '1' }, command: ['env'] },
    },
  };
  const piped = await run(['job', 'submit', '-', '--wait', '--env', 'B=2'], { input: JSON.stringify(body) });
  assert.equal(piped.code, 0, piped.stderr);
  assert.match(piped.stdout, /^A=1$/m);
  assert.match(piped.stdout, /^B=2$/m);
  const file = join(folder, 'job.json');
  writeFileSync(file, JSON.stringify(body));
  const created = JSON.parse(
    await ok('job', 'submit', file, '--json', '--title', 'mine', '--label', 'kind=file'),
  );
  assert.equal(created.object, 'job');
  assert.deepEqual([created.title, created.labels], ['mine', { kind: 'file' }]);
  assert.equal((await run(['job', 'wait', created.uuid])).code, 0);
});

test('an idempotency key makes one job of two submits', needsDocker, async () => {
  const args = ['job', 'submit', 'busybox', '--idempotency-key', 'once-only', '--', 'true'];
  assert.equal(await ok(...args), await ok(...args));
});

test('list, get and logs find the job by uuid and by prefix', needsDocker, async () => {
  const uuid = (
    await ok('job', 'submit', 'busybox', '--label', 'team=lists', '--title', 'listed', '--', 'echo', 'x')
  ).trim();
  assert.equal((await run(['job', 'wait', uuid])).code, 0);
  const listed = JSON.parse(
    await ok('job', 'list', '--label', 'team=lists', '--status', 'completed', '--json'),
  );
  assert.deepEqual(
    listed.map((it: { uuid: string }) => it.uuid),
    [uuid],
  );
  const table = await ok('job', 'list', '--label', 'team=lists');
  assert.match(
    table,
    new RegExp(`^UUID +STATUS +TASK +AGE +TITLE +REASON\n${uuid} +COMPLETED +BATCH +\\d+s +listed`),
  );
  assert.match(
    await ok('job', 'get', uuid.slice(0, 35)),
    /Status: +COMPLETED\n(.*\n)*Runs:\n +1\. COMPLETED after/,
  );
  assert.equal(await ok('job', 'logs', uuid), 'x\n');
  assert.equal(await ok('job', 'logs', uuid, '--run', '1'), 'x\n');
  assert.equal(await ok('job', 'logs', uuid, '--follow'), 'x\n');
  assert.equal((await run(['job', 'logs', uuid, '--run', '2'])).code, 3);
});

test(
  'Ctrl-C while following leaves the job running; stop shows the teardown to its proof',
  needsDocker,
  async () => {
    const uuid = await submitSleeper('--task', 'PERSISTENT');
    const following = start(['job', 'logs', '--follow', uuid]);
    await following.until(/begun/);
    following.child.kill('SIGINT');
    const left = await following.ended;
    assert.equal(left.code, 130);
    assert.match(left.stderr, new RegExp(`Job ${uuid} goes on\\. Stop it with: flotilla job stop ${uuid}`));
    assert.equal((await job(uuid)).status, 'RUNNING');

    const late = await run(['job', 'wait', uuid, '--timeout', '500ms']);
    assert.equal(late.code, 8);
    assert.match(late.stderr, /is still RUNNING after 500ms; it goes on/);

    const stopped = await run(['job', 'stop', uuid, '--reason', 'seen enough']);
    assert.equal(stopped.code, 0, stopped.stderr);
    assert.match(stopped.stdout, /CANCELLED: .*seen enough.*\n(.*\n)*.*container gone, verified/);
    assert.equal(containersOf(uuid), '');
    const again = await run(['job', 'stop', uuid, '--reason', 'once more']);
    assert.equal(again.code, 0);
    assert.match(again.stdout, /CANCELLED: .*seen enough/);
    assert.equal((await run(['job', 'wait', uuid])).code, 7);
  },
);

test('stop takes several jobs, and one that is unknown keeps none alive', needsDocker, async () => {
  const [first, second] = await Promise.all([submitSleeper(), submitSleeper()]);
  const unknown = '019582a6-27fc-731d-8000-000000000000';
  const stopped = await run(['job', 'stop', first, unknown, second, '--grace', '1s', '--json']);
  assert.equal(stopped.code, 3);
  assert.match(stopped.stderr, /^flotilla: .*019582a6-27fc-731d-8000-000000000000/m);
  const states = JSON.parse(stopped.stdout).map((it: { status: string; teardown: { state: string } }) => [
    it.status,
    it.teardown.state,
  ]);
  assert.deepEqual(states, [
    ['CANCELLED', 'verified'],
    ['CANCELLED', 'verified'],
  ]);
});

test('errors are one sentence with an exit code of their kind', needsDocker, async () => {
  const invalid = await run(['job', 'submit', 'busybox', '--cpu', '99999', '--ram-gb', '99999999']);
  assert.equal(invalid.code, 2);
  assert.match(invalid.stderr, /^flotilla: .+\n/);
  assert.match(invalid.stderr, /^ {2}\S*cpu_count: expected .+\n {2}\S*min_ram_gb: expected .+/m);
  assert.equal(invalid.stdout, '');
  assert.equal((await run(['job', 'get', '019582a6-27fc-731d-8000-000000000000'])).code, 3);
  const key = { FLOTILLA_PUBLIC_KEY: 'pk_wrong', FLOTILLA_SECRET_KEY: 'sk_wrong' };
  const { url } = JSON.parse(readFileSync(join(folder, 'data', 'admin-key.json'), 'utf8'));
  assert.equal((await run(['job', 'list'], { env: { ...key, FLOTILLA_URL: url } })).code, 4);
  const unreachable = await run(['job', 'list', '--url', 'http://127.0.0.1:1']);
  assert.equal(unreachable.code, 5);
  assert.match(unreachable.stderr, /^flotilla: Cannot reach .*\n$/);
});

test('a key can be made, used and revoked', needsDocker, async () => {
  const file = join(folder, 'consumer.json');
  const created = JSON.parse(
    await ok('key', 'create', '--name', 'ci', '--preset', 'consumer', '--out', file, '--json'),
  );
  assert.equal('secret_key' in created, false);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal((await run(['job', 'list', '--key-file', file])).code, 0);
  assert.equal((await run(['key', 'create', '--key-file', file])).code, 4);
  assert.match(
    await ok('key', 'list'),
    /^UUID +NAME +PRESET +STATE +AGE +PUBLIC KEY\n(.*\n)*.* ci +consumer +valid /m,
  );
  assert.match(await ok('key', 'revoke', created.uuid), /is revoked/);
  assert.equal((await run(['job', 'list', '--key-file', file])).code, 4);
  const over = await run(['key', 'create', '--out', file]);
  assert.equal(over.code, 1);
  assert.match(over.stderr, /exists already/);
});

test('a node can be registered and seen; its key file is for its owner alone', needsDocker, async () => {
  const file = join(folder, 'second.json');
  const told = await ok('node', 'register', '--name', 'second', '--label', 'rack=3', '--out', file);
  assert.match(told, /Node second is registered as [0-9a-f-]{36}\./);
  const key = JSON.parse(readFileSync(file, 'utf8'));
  assert.deepEqual(Object.keys(key).sort(), ['node_uuid', 'public_key', 'secret_key', 'url']);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.match(await ok('node', 'list'), /^second +offline /m);
  assert.match(await ok('node', 'get', 'second'), /Labels: +rack=3/);
});

test('a reader that goes away ends the command quietly', needsDocker, async () => {
  const listing = start(['job', 'list', '--all', '--json']);
  listing.child.stdout.destroy();
  const { code, stderr } = await listing.ended;
  assert.deepEqual([code, stderr], [0, '']);
});

function containersOf(jobUuid: string): string {
  const list = execFileSync('docker', ['ps', '-a', '--no-trunc', '--format', '{{.Names}} {{.Labels}}'], {
    encoding: 'utf8',
    timeout: 30_000,
  });
  return list
    .split('\n')
    .filter((line) => line.includes(jobUuid))
    .join('\n');
}
