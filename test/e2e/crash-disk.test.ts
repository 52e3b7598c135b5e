// Disks that are full to the last byte: what was acknowledged stays, sentences say why, and nothing needs a restart.
import assert from 'node:assert/strict';
import { statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { signRequest } from '../../src/sdk/sign.ts';
import { needsDocker } from './support/docker.ts';
import { askDatabase } from './support/embedded-database.ts';
import { eventually } from './support/eventually.ts';
import { aScript, completeLog, createPlace, onlyRunOf, type Place, untilStatus } from './support/place.ts';
import { mountSmallDisk } from './support/small-disk.ts';

/** PostgreSQL's files at rest take some 60 MB. */
const databaseMegabytes = 120;

test(
  'a full disk under the database is a 503, loses no acknowledged job, and is over once there is space',
  needsDocker,
  async () => {
    const place = createPlace();
    const disk = mountSmallDisk(databaseMegabytes);
    symlinkSync(disk.folder, place.dataDirectory);
    try {
      const up = await place.up();
      const client = place.client();
      const ending = await client.jobs.create(aScript('echo begun; sleep 3; echo ended; exit 4'));
      await untilStatus(client, ending.uuid, 'RUNNING');
      disk.fill();
      const acknowledged = await submitUntilRefused(place);
      await useUpWriteAheadLog(place);
      const { status, text } = await submit(place);
      assert.equal(status, 503, text);
      await sleep(3_000);
      const logFile = join(place.dataDirectory, 'flotilla.log');
      const logBytes = statSync(logFile).size;
      disk.free();
      await eventually(
        'a submit to be taken again',
        async () => (await submit(place)).status === 201,
        60_000,
      );
      for (const uuid of acknowledged) await untilStatus(client, uuid, 'COMPLETED');
      await untilStatus(client, ending.uuid, 'FAILED');
      const run = await onlyRunOf(client, ending.uuid);
      assert.equal(run.exit_code, 4);
      assert.equal(await completeLog(client, run.uuid), 'begun\nended\n');
      assert.equal(up.hasEnded(), false, up.output());
      await eventually('the log to go on', async () => statSync(logFile).size > logBytes);
    } finally {
      await place.remove();
      disk.remove();
    }
  },
);

/** Only 201 and 503 are answers; the uuids of the first kind. */
async function submitUntilRefused(place: Place): Promise<string[]> {
  const acknowledged: string[] = [];
  for (;;) {
    const { status, text } = await submit(place);
    if (status !== 201) {
      assert.equal(status, 503, text);
      const { error } = JSON.parse(text) as { error: { code: string; message: string } };
      assert.equal(error.code, 'unavailable');
      assert.match(error.message, /disk is full/);
      return acknowledged;
    }
    acknowledged.push((JSON.parse(text) as { uuid: string }).uuid);
  }
}

/** Until PostgreSQL panics, since it can write nothing more; it is started again and again meanwhile. */
async function useUpWriteAheadLog({ dataDirectory }: Place): Promise<void> {
  const write = "select pg_logical_emit_message(false, 'test', repeat('x', 1000000))";
  for (let written = 0; written < databaseMegabytes; written += 1) {
    try {
      await askDatabase(dataDirectory, write);
    } catch {
      return;
    }
  }
  assert.fail('more was written than there is space');
}

/** One signed POST, without any second try. */
async function submit(place: Place): Promise<{ status: number; text: string }> {
  const { url, public_key: publicKey, secret_key: secretKey } = place.adminKey();
  const body = JSON.stringify(aScript('true', { job: { description: 'x'.repeat(900) } }));
  const headers = signRequest({ key: { publicKey, secretKey }, method: 'POST', path: '/v1/jobs', body });
  const response = await fetch(`${url}/v1/jobs`, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body,
    signal: AbortSignal.timeout(20_000),
  });
  return { status: response.status, text: await response.text() };
}
