// Two servers and a node behind PgBouncer in transaction mode: the leader is killed, and one is cut off from the database.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts';
import { runCommand } from './support/command.ts';
import { type DatabaseLine, openLine } from './support/database-line.ts';
import { containersOf, needsDocker } from './support/docker.ts';
import { eventually } from './support/eventually.ts';
import { createFleet, type Fleet, type Replica } from './support/fleet.ts';
import { aScript, completeLog, onlyRunOf, untilStatus } from './support/place.ts';

let postgres: TestPostgres;
let lines: DatabaseLine[];
let fleet: Fleet;
let urls: { url: string; directUrl: string };

before(async () => {
  if (needsDocker.skip) return;
  postgres = await startTestPostgres({ kind: 'pgbouncer' });
  const url = await postgres.createDatabase();
  urls = { url, directUrl: postgres.directUrl(url) ?? assert.fail('there is a pooler') };
  lines = [openLine(), openLine()];
  const ways = lines.map((line) => ({ url: line.over(urls.url), directUrl: line.over(urls.directUrl) }));
  fleet = await createFleet(ways, urls.directUrl);
});
after(async () => {
  await fleet?.remove();
  for (const line of lines ?? []) line.close();
  await postgres?.stop();
});

function other(replica: Replica): Replica {
  return fleet.replicas.find((one) => one !== replica) ?? assert.fail('there are two');
}

async function runsOnce(one: Replica, watcher: Replica): Promise<void> {
  const { uuid } = await one.client.jobs.create(aScript('echo ran once'));
  await untilStatus(watcher.client, uuid, 'COMPLETED');
  const run = await onlyRunOf(watcher.client, uuid);
  assert.equal(await completeLog(watcher.client, run.uuid), 'ran once\n');
  await eventually('its container to go', async () => (await containersOf(uuid)).length === 0);
}

test('a server that is given the pooler alone does not start, and says why', needsDocker, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-refused-'));
  const args = ['server', '--port', '0', '--data-dir', folder];
  const { code, output } = await runCommand(args, { DATABASE_URL: urls.url });
  rmSync(folder, { recursive: true, force: true });
  assert.equal(code, 1, output);
  assert.match(output, /connection pooler.*Set DATABASE_DIRECT_URL/);
});

test('jobs run, submitted to one and watched through the other', needsDocker, async () => {
  const [one, two] = fleet.replicas;
  assert.ok(one && two);
  await Promise.all([runsOnce(one, two), runsOnce(two, one), runsOnce(one, one)]);
});

test('the leader is killed: the other one leads, and its node comes along', needsDocker, async () => {
  const leader = await fleet.leader();
  const heir = other(leader);
  leader.isUp = false;
  leader.command.signal('SIGKILL');
  await leader.command.ended;
  assert.equal(await fleet.leader(), heir);
  await runsOnce(heir, heir);
  await leader.start();
  await runsOnce(leader, heir);
});

test('a server that cannot reach the database sends its node on to one that can', needsDocker, async () => {
  const cutOff = await fleet.holder();
  const line = lines[fleet.replicas.indexOf(cutOff)];
  const healthy = other(cutOff);
  line?.cut();
  cutOff.isUp = false;
  await eventually('it to say that it is not ready', async () => {
    return (await fetch(`${cutOff.url}/readyz`)).status === 503;
  });
  assert.equal(await fleet.holder(), healthy);
  assert.equal(await fleet.leader(), healthy);
  await runsOnce(healthy, healthy);
  const [node] = (await healthy.client.nodes.list()).data;
  const events = await healthy.client.nodes.events(node?.uuid ?? '');
  assert.ok(!events.data.some(({ kind }) => kind === 'lost'), JSON.stringify(events.data));
  line?.mend();
  await eventually('it to be ready again', async () => (await fetch(`${cutOff.url}/readyz`)).status === 200);
  cutOff.isUp = true;
  await runsOnce(cutOff, healthy);
});
