// `flotilla up` from the first start on: hello job, refusals in one sentence, TLS, clean ends and taking up what runs.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '../../src/sdk/client.ts';
import { ConnectionError } from '../../src/sdk/errors.ts';
import { startTestPostgres } from '../support/postgres.ts';
import { type Command, type Ended, runCommand } from './support/command.ts';
import { counted, countingScript } from './support/counting.ts';
import { containersOf, needsDocker } from './support/docker.ts';
import { eventually } from './support/eventually.ts';
import { aScript, completeLog, createPlace, onlyRunOf, type Place, untilStatus } from './support/place.ts';

const shutdownLimitMs = 5_000;
let place: Place;
let firstStart: Ended;

before(async () => {
  place = createPlace();
  if (needsDocker.skip) return;
  firstStart = await runCommand(['up', '--once', '--port', '0', '--data-dir', place.dataDirectory]);
});
after(() => place.remove());

test('up --once shows the life of the hello job and its log, and ends with 0', needsDocker, () => {
  const { code, output } = firstStart;
  assert.equal(code, 0, output);
  assert.match(output, /^hello job [0-9a-f-]{36} {2}PENDING .*\+0 ms$/m);
  assert.match(output, /^hello job [0-9a-f-]{36} {2}COMPLETED .*\+\d+ ms$/m);
  assert.match(output, /^ {2}\| Hello from a container of Flotilla\.$/m);
  assert.ok(output.includes(`admin key: ${join(place.dataDirectory, 'admin-key.json')}`));
});

test('up --once leaves no PostgreSQL and no container', needsDocker, async () => {
  const [, jobUuid = ''] = /hello job ([0-9a-f-]{36})/.exec(firstStart.output) ?? [];
  assert.deepEqual(await containersOf(jobUuid), []);
  assert.equal(place.postmasterPid(), null);
});

test('the admin key is for its owner alone and has three fields', needsDocker, () => {
  const file = join(place.dataDirectory, 'admin-key.json');
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const key = place.adminKey();
  assert.deepEqual(Object.keys(key).toSorted(), ['public_key', 'secret_key', 'url']);
  assert.match(key.public_key, /^pk_\w+$/);
  assert.match(key.secret_key, /^sk_\w+$/);
  assert.match(key.url, /^http:\/\/127\.0\.0\.1:\d+$/);
});

test('what is in the data directory is closed to other users', needsDocker, () => {
  assert.equal(statSync(place.dataDirectory).mode & 0o066, 0);
  for (const file of ['master-key', 'node-key.json', 'flotilla.log'])
    assert.equal(statSync(join(place.dataDirectory, file)).mode & 0o077, 0, file);
});

/** Fails, and with one sentence for people: no stack, no second line. */
function assertRefused({ code, output }: Ended, sentence: RegExp): void {
  assert.equal(code, 1, output);
  assert.match(output, sentence);
  const told = output.split('\n').filter((line) => line.startsWith('flotilla: '));
  assert.equal(told.length, 1, output);
  assert.ok(!/^\s+at /m.test(output), output);
}

const onPlace = (...args: string[]) => [...args, '--data-dir', place.dataDirectory];

test('listening beyond loopback without TLS is refused', needsDocker, async () => {
  const refused = await runCommand(onPlace('up', '--host', '0.0.0.0', '--port', '0'));
  assertRefused(refused, /^flotilla: Listening on 0\.0\.0\.0 without TLS: give --tls-cert and --tls-key/m);
});

test(
  'a master key of another installation is refused, and nothing is changed by the try',
  needsDocker,
  async () => {
    const file = join(place.dataDirectory, 'master-key');
    const right = readFileSync(file);
    writeFileSync(file, `${Buffer.alloc(32, 7).toString('base64')}\n`);
    try {
      const refused = await runCommand(onPlace('up', '--port', '0'));
      assertRefused(refused, /^flotilla: The master key [0-9a-f]{8} does not belong to this database/m);
    } finally {
      writeFileSync(file, right);
    }
  },
);

test('key recover makes a new admin key while the server is down', needsDocker, async () => {
  const old = place.adminKey();
  const { code, output } = await runCommand(onPlace('key', 'recover'));
  assert.equal(code, 0, output);
  const recovered = place.adminKey();
  assert.notEqual(recovered.public_key, old.public_key);
  assert.equal(recovered.url, old.url);
  assert.ok(!output.includes(recovered.secret_key), 'the secret is in the file alone');
});

/** A PERSISTENT job that counts aloud, RUNNING and with some lines in its log. */
async function startCounting(client: Client): Promise<string> {
  const { uuid } = await client.jobs.create(aScript(countingScript, { job: { task: 'PERSISTENT' } }));
  await untilStatus(client, uuid, 'RUNNING');
  const run = await onlyRunOf(client, uuid);
  await eventually('some lines of log', async () => (await client.runs.logs(run.uuid)).text.includes('5\n'));
  return uuid;
}

const ends: readonly [name: string, end: (command: Command) => void][] = [
  ['Ctrl-C', (command) => command.signalGroup('SIGINT')],
  ['SIGTERM', (command) => command.signal('SIGTERM')],
];
for (const [name, end] of ends) {
  test(
    `${name} ends up cleanly; the next start takes up the running container and its whole log`,
    needsDocker,
    async () => {
      const first = await place.up();
      const uuid = await startCounting(place.client());
      const [container] = await containersOf(uuid);
      const askedAt = performance.now();
      end(first);
      const { code, output } = await first.ended;
      assert.equal(code, 0, output);
      assert.ok(performance.now() - askedAt < shutdownLimitMs, 'it ends within a few seconds');
      assert.match(output, /running containers go on/);
      assert.equal(place.postmasterPid(), null, 'PostgreSQL was stopped');
      await sleep(300);

      const second = await place.up();
      const client = place.client();
      assert.equal((await client.jobs.get(uuid)).status, 'RUNNING');
      assert.deepEqual(await containersOf(uuid), [{ ...container, state: 'running' }]);
      await sleep(300);
      const stopped = await client.jobs.cancel(uuid, { wait_ms: 20_000, stop_grace_ms: 0 });
      assert.deepEqual([stopped.status, stopped.teardown?.state], ['CANCELLED', 'verified']);
      const run = await onlyRunOf(client, uuid);
      assert.equal(run.attempt, 1);
      const lines = counted(await completeLog(client, run.uuid));
      assert.ok(lines > 20, `${lines} lines`);
      second.signal('SIGTERM');
      assert.equal((await second.ended).code, 0);
    },
  );
}

test('a second start says who holds the data directory; so does key recover', needsDocker, async () => {
  const holder = await place.up();
  const sentence = new RegExp(
    `^flotilla: The data directory .* is in use by process ${holder.pid} .*kill ${holder.pid}`,
    'm',
  );
  assertRefused(await runCommand(onPlace('up', '--port', '0')), sentence);
  assertRefused(await runCommand(onPlace('key', 'recover')), sentence);
  assert.equal((await place.client().nodes.list()).data[0]?.status, 'ready', 'the holder is untouched');
});

test('a port that is in use is named', needsDocker, async () => {
  const other = createPlace();
  try {
    const port = new URL(place.adminKey().url).port;
    const refused = await runCommand(['up', '--port', port, '--data-dir', other.dataDirectory]);
    assertRefused(refused, new RegExp(`^flotilla: Port ${port} on 127\\.0\\.0\\.1 is in use; .*--port`, 'm'));
  } finally {
    await other.remove();
  }
});

test('with TLS, clients that trust the certificate get in, and others do not', needsDocker, async () => {
  const secure = createPlace();
  try {
    const [cert, key] = [join(secure.folder, 'cert.pem'), join(secure.folder, 'key.pem')];
    makeCertificate(cert, key);
    await secure.up(['--tls-cert', cert, '--tls-key', key]);
    assert.match(secure.adminKey().url, /^https:/);
    const client = secure.client(readFileSync(cert, 'utf8'));
    const { uuid } = await client.jobs.create(aScript('echo over TLS'));
    await untilStatus(client, uuid, 'COMPLETED');
    assert.equal(await completeLog(client, (await onlyRunOf(client, uuid)).uuid), 'over TLS\n');
    await assert.rejects(secure.client().jobs.list(), ConnectionError);
  } finally {
    await secure.remove();
  }
});

function makeCertificate(cert: string, key: string): void {
  const subject = ['-subj', '/CN=flotilla test', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  const options = [
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-days',
    '2',
  ];
  execFileSync('openssl', ['req', ...options, ...subject, '-keyout', key, '-out', cert], {
    stdio: 'pipe',
    timeout: 20_000,
  });
}

test('DATABASE_URL replaces the embedded PostgreSQL', needsDocker, async () => {
  process.env.FLOTILLA_TEST_POSTGRES = 'system';
  const postgres = await startTestPostgres();
  const outgrown = createPlace();
  try {
    const DATABASE_URL = await postgres.createDatabase();
    const command = await outgrown.up([], { DATABASE_URL });
    const client = outgrown.client();
    const { uuid } = await client.jobs.create(aScript('echo elsewhere'));
    await untilStatus(client, uuid, 'COMPLETED');
    assert.equal(outgrown.postmasterPid(), null);
    command.signal('SIGTERM');
    assert.equal((await command.ended).code, 0);
  } finally {
    await outgrown.remove();
    await postgres.stop();
  }
});
