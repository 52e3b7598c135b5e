// Programs and files in real containers, through the command line: bytes, exit codes, terminals, and ends of every kind.
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import type { Client } from '../../src/sdk/client.ts';
import { signRequest } from '../../src/sdk/sign.ts';
import { mainFile } from './support/command.ts';
import { containersOf, docker, needsDocker } from './support/docker.ts';
import { eventually } from './support/eventually.ts';
import { aScript, createPlace, onlyRunOf, untilStatus } from './support/place.ts';

const place = createPlace();
const spools = join(place.folder, 'tmp');
let client: Client;
let ca = '';
let jobUuid = '';
let runUuid = '';
let containerId = '';

before(async () => {
  if (needsDocker.skip) return;
  mkdirSync(spools, { mode: 0o777 });
  // Over TLS with an authority of its own: WebSocket, uploads and the data connection must all know it.
  const [cert, key] = [join(place.folder, 'cert.pem'), join(place.folder, 'key.pem')];
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  const request = [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-days',
    '2',
    '-keyout',
    key,
    '-out',
    cert,
  ];
  execFileSync('openssl', [...request, ...names], { stdio: 'ignore', timeout: 30_000 });
  await place.up(['--tls-cert', cert, '--tls-key', key], { TMPDIR: spools });
  ca = readFileSync(cert, 'utf8');
  client = place.client(ca);
  [jobUuid, runUuid, containerId] = await aJobThatRuns();
});

after(() => place.remove());

async function aJobThatRuns(): Promise<[string, string, string]> {
  const { uuid } = await client.jobs.create(aScript('trap "exit 0" TERM; sleep 1000 & wait'));
  await untilStatus(client, uuid, 'RUNNING');
  const [container] = await containersOf(uuid);
  return [uuid, (await onlyRunOf(client, uuid)).uuid, container?.id ?? ''];
}

interface Ended {
  code: number | null;
  stdout: Buffer;
  stderr: string;
}

function start(args: readonly string[], input: Buffer | 'open' = Buffer.alloc(0)) {
  const child = spawn(process.execPath, [mainFile, ...args], { env: { ...process.env, ...connection() } });
  const stdout: Buffer[] = [];
  let stderr = '';
  child.stdout.on('data', (part: Buffer) => stdout.push(part));
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  child.stdin.on('error', () => {});
  if (input !== 'open') child.stdin.end(input);
  const ended = new Promise<Ended>((resolveEnded) => {
    child.on('close', (code) => resolveEnded({ code, stdout: Buffer.concat(stdout), stderr }));
  });
  return { child, ended, printed: () => Buffer.concat(stdout).toString() };
}

const connection = () => ({
  FLOTILLA_KEY_FILE: join(place.dataDirectory, 'admin-key.json'),
  FLOTILLA_CA_FILE: join(place.folder, 'cert.pem'),
});

async function run(args: readonly string[], input?: Buffer): Promise<Ended> {
  const { child, ended } = start(args, input);
  const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
  try {
    return await ended;
  } finally {
    clearTimeout(timer);
  }
}

const exec = (...words: string[]) => run(['job', 'exec', jobUuid, '--', ...words]);
const cp = (...args: string[]) => run(['job', 'cp', ...args]);
const uploadsLeft = () => readdirSync(spools).filter((name) => name.startsWith('flotilla-upload-'));
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const inContainer = (...words: string[]) => docker('exec', containerId, ...words);

test('output, error output and exit code are the program’s own', needsDocker, async () => {
  const { code, stdout, stderr } = await exec(
    'sh',
    '-c',
    'echo out; echo err >&2; printf "\\000\\377"; exit 7',
  );
  assert.deepEqual([code, stdout.toString('latin1'), stderr], [7, 'out\n\0\xff', 'err\n']);
  const [event] = await client.runs.list({ filter: { job_uuid: jobUuid } }).then(({ data }) => data);
  assert.equal(event?.status, 'RUNNING');
});

test(
  '50 MB go in and come out unchanged, and the end of the input is the program’s',
  needsDocker,
  async () => {
    const bytes = randomBytes(50_000_000);
    const [both, hash] = await Promise.all([
      run(['job', 'exec', '-i', jobUuid, '--', 'cat'], bytes),
      run(
        ['job', 'exec', '-i', jobUuid, '--', 'sh', '-c', 'sha256sum; echo done'],
        bytes.subarray(0, 1_000_000),
      ),
    ]);
    assert.deepEqual([both.code, both.stderr, both.stdout.length], [0, '', bytes.length]);
    assert.equal(sha256(both.stdout), sha256(bytes));
    assert.equal(hash.stdout.toString(), `${sha256(bytes.subarray(0, 1_000_000))}  -\ndone\n`);
    // Without -i the program's input is empty at once.
    assert.equal((await exec('cat')).stdout.length, 0);
  },
);

test('a program that is not there, or is none, is told in a sentence', needsDocker, async () => {
  const missing = await exec('no-such-program');
  assert.deepEqual([missing.code, missing.stdout.length], [127, 0]);
  assert.equal(missing.stderr, 'flotilla: There is no program "no-such-program" in the container.\n');
  const none = await exec('/etc/passwd');
  assert.deepEqual([none.code, none.stdout.length], [126, 0]);
  assert.match(none.stderr, /"\/etc\/passwd" in the container is not a program/);
});

test('when the client goes, its program ends, and no other does', needsDocker, async () => {
  const doomed = start([
    'job',
    'exec',
    jobUuid,
    '--',
    'sh',
    '-c',
    'trap "" HUP; echo begun; sleep 9871 & wait',
  ]);
  const stays = start(['job', 'exec', jobUuid, '--', 'sh', '-c', 'echo begun; sleep 9872; true']);
  for (const { printed } of [doomed, stays])
    await eventually('both begin', async () => printed() === 'begun\n');
  assert.match(await inContainer('ps'), /sleep 9871/);
  doomed.child.kill('SIGKILL');
  await eventually('the program to end', async () => !(await inContainer('ps')).includes('9871'));
  const left = await inContainer('ps');
  assert.match(left, /sleep 9872/);
  assert.match(left, /sleep 1000/);
  stays.child.kill('SIGINT');
  assert.equal((await stays.ended).code, 130);
  await eventually('the other to end', async () => !(await inContainer('ps')).includes('9872'));
});

test('a container that stops in the middle ends the program and the command', needsDocker, async () => {
  const [uuid] = await aJobThatRuns();
  const { ended, printed } = start(['job', 'exec', uuid, '--', 'sh', '-c', 'echo begun; sleep 9873']);
  await eventually('it begins', async () => printed() === 'begun\n');
  await client.jobs.cancel(uuid, { wait_ms: 20_000 });
  const { code, stderr } = await ended;
  assert.ok(code !== null && code !== 0, `ended with ${code}: ${stderr}`);
  const after = await run(['job', 'exec', uuid, '--', 'true']);
  assert.equal(after.code, 2);
  assert.match(after.stderr, /its container is not running/);
  const copied = await cp(`${uuid}:/etc/passwd`, place.folder);
  assert.match(copied.stderr, /its container is not running/);
});

interface Terminal {
  code: number;
  output: string;
  isRestored: boolean;
}

function onTerminal(steps: unknown[], ...words: string[]): Promise<Terminal> {
  const args = [resolve(import.meta.dirname, '../support/on_terminal.py'), JSON.stringify(steps)];
  const command = [process.execPath, mainFile, 'job', 'exec', jobUuid, ...words];
  const env = { ...process.env, ...connection() };
  return new Promise((resolveEnded, reject) => {
    execFile('python3', [...args, ...command], { env, timeout: 60_000 }, (error, stdout) => {
      if (error) reject(new Error(`${error.message}\n${stdout}`));
      else resolveEnded(JSON.parse(stdout));
    });
  });
}

test(
  'on a terminal: a shell, its size, keys and Ctrl-C, and everything as before at the end',
  needsDocker,
  async () => {
    const { code, output, isRestored } = await onTerminal([
      ['expect', '[#$] '],
      ['send', 'stty size; tty; echo $TERM\n'],
      ['expect', '24 80\r\n'],
      ['expect', '/dev/pts/\\d+\r\n'],
      ['resize', 40, 132],
      ['send', 'sleep 0.3; stty size\n'],
      ['expect', '40 132\r\n'],
      // The echo of what was typed comes before the shell listens to Ctrl-C.
      ['send', 'echo begun; sleep 9874\n'],
      ['expect', '\nbegun\r\n'],
      ['send', '\u0003'],
      ['expect', '[#$] '],
      ['send', 'echo $?; exit 9\n'],
      ['expect', '130\r\n'],
    ]);
    assert.deepEqual([code, isRestored], [9, true], output);
  },
);

test(
  'a terminal is given back when the program cannot be run or the command is ended',
  needsDocker,
  async () => {
    const missing = await onTerminal([['expect', 'There is no program']], '--', 'no-such-program');
    assert.deepEqual([missing.code, missing.isRestored], [127, true], missing.output);
  },
);

test('files and folders go in and come back as they were', needsDocker, async () => {
  const source = join(place.folder, 'source');
  mkdirSync(join(source, 'sub'), { recursive: true });
  const bytes = randomBytes(3_000_000);
  writeFileSync(join(source, 'data'), bytes);
  writeFileSync(join(source, 'sub', 'run'), '#!/bin/sh\n', { mode: 0o755 });
  const into = await cp(source, `${jobUuid}:/tmp`);
  assert.deepEqual([into.code, into.stderr], [0, '']);
  assert.equal(await inContainer('sha256sum', '/tmp/source/data'), `${sha256(bytes)}  /tmp/source/data`);
  assert.equal(await inContainer('stat', '-c', '%a %u', '/tmp/source/sub/run'), '755 0');

  // A name of its own where none is yet; a file into a folder; what lies in a folder.
  assert.equal((await cp(source, `${jobUuid}:/tmp/named`)).code, 0);
  assert.equal((await cp(join(source, 'data'), `${jobUuid}:/tmp/named/copy`)).code, 0);
  assert.equal((await cp(`${source}/.`, `${jobUuid}:/tmp/named/sub`)).code, 0);
  assert.equal(
    await inContainer('ls', '/tmp/named', '/tmp/named/sub'),
    '/tmp/named:\ncopy\ndata\nsub\n\n/tmp/named/sub:\ndata\nrun\nsub',
  );

  const out = join(place.folder, 'out');
  mkdirSync(out);
  assert.deepEqual((await cp(`${jobUuid}:/tmp/source`, out)).code, 0);
  assert.equal(sha256(readFileSync(join(out, 'source', 'data'))), sha256(bytes));
  assert.equal(statSync(join(out, 'source', 'sub', 'run')).mode & 0o777, 0o755);
  assert.equal((await cp(`${jobUuid}:/tmp/source/data`, join(out, 'renamed'))).code, 0);
  assert.equal(sha256(readFileSync(join(out, 'renamed'))), sha256(bytes));

  const tar = await cp(`${jobUuid}:/tmp/source/sub`, '-');
  const back = await run(['job', 'cp', '-', `${jobUuid}:/tmp/out/`], tar.stdout);
  assert.equal(back.code, 3, 'there is no such folder yet');
  await inContainer('mkdir', '/tmp/out');
  assert.equal((await run(['job', 'cp', '-', `${jobUuid}:/tmp/out`], tar.stdout)).code, 0);
  assert.equal(await inContainer('cat', '/tmp/out/sub/run'), '#!/bin/sh');
  await eventually('no upload to be left', async () => uploadsLeft().length === 0);
});

test('what cannot be copied is told in a sentence', needsDocker, async () => {
  const missing = await cp(`${jobUuid}:/no/such`, place.folder);
  assert.deepEqual(
    [missing.code, missing.stderr],
    [3, 'flotilla: There is no "/no/such" in the container.\n'],
  );
  const local = join(place.folder, 'one');
  writeFileSync(local, 'x');
  const nowhere = await cp(local, `${jobUuid}:/no/such/file`);
  assert.deepEqual(
    [nowhere.code, nowhere.stderr],
    [3, 'flotilla: There is no "/no/such" in the container.\n'],
  );
  const below = await cp(local, `${jobUuid}:/etc/passwd/x`);
  assert.equal(below.code, 2);
  assert.match(below.stderr, /"\/etc\/passwd" in the container is not a folder/);
  const over = await cp(place.folder, `${jobUuid}:/etc/passwd`);
  assert.match(over.stderr, /"\/etc\/passwd" in the container is not a folder/);
  assert.match((await cp(`${jobUuid}:/etc`, `${local}/`)).stderr, /is not a folder/);
  assert.match((await cp(local, place.folder)).stderr, /must be JOB:\/path/);
  assert.match(
    (await run(['job', 'cp', '-', `${jobUuid}:/tmp`], Buffer.from('no tar at all'.repeat(100)))).stderr,
    /not a readable tar/,
  );
});

test(
  'links that a container made lead nowhere outside, and nothing is written through them',
  needsDocker,
  async () => {
    const outside = join(place.folder, 'outside');
    mkdirSync(outside);
    await inContainer(
      'sh',
      '-c',
      `mkdir /trap && cd /trap && ln -s ${outside} way && ln -s ../../outside up && ln -s ok fine && echo x >ok`,
    );
    const { code, stderr } = await cp(`${jobUuid}:/trap`, place.folder);
    assert.equal(code, 0);
    assert.match(
      stderr,
      /left out trap\/way: .*\nleft out trap\/up|left out trap\/up: .*\nleft out trap\/way/,
    );
    assert.deepEqual(readdirSync(join(place.folder, 'trap')).sort(), ['fine', 'ok']);
    assert.equal(readlinkSync(join(place.folder, 'trap', 'fine')), 'ok');
    assert.deepEqual(readdirSync(outside), []);
  },
);

test('an upload that is not what was signed is written nowhere', needsDocker, async () => {
  const { url, public_key: publicKey, secret_key: secretKey } = place.adminKey();
  const tar = (await cp(`${jobUuid}:/etc/passwd`, '-')).stdout;
  const path = `/v1/job-runs/${runUuid}/files?path=%2Ftmp`;
  const send = (headers: Record<string, string>) =>
    new Promise<number>((resolveStatus, reject) => {
      const sent = { 'Content-Type': 'application/x-tar', 'Content-Length': String(tar.length), ...headers };
      const put = httpsRequest(
        new URL(path, url),
        { method: 'PUT', headers: sent, ca, agent: false },
        (answer) => {
          answer.resume();
          resolveStatus(answer.statusCode ?? 0);
        },
      );
      put.on('error', reject);
      put.end(tar);
    });
  const key = { publicKey, secretKey };
  const tampered = await send(
    signRequest({ key, method: 'PUT', path, bodySha256: sha256(Buffer.from('another')) }),
  );
  assert.equal(tampered, 401);
  await assert.rejects(inContainer('stat', '/tmp/passwd'));
  const honest = await send(signRequest({ key, method: 'PUT', path, bodySha256: sha256(tar) }));
  assert.equal(honest, 200);
  await inContainer('stat', '/tmp/passwd');
  await eventually('no upload to be left', async () => uploadsLeft().length === 0);
});
