// From the last fault to rest: everything is healed, what does not end by itself is stopped, and the place gets quiet.

import { askEngine } from './engine.ts';
import type { Load } from './load.ts';
import type { Place } from './place.ts';
import { until } from './until.ts';
import type { Watcher } from './watcher.ts';

const answerLimitMs = 60_000;
/** Time to end by itself; a short job whose node was away needs a while to be placed. */
const ownEndMs = 20_000;
/** Logs are waited for a minute, an engine that was started anew needs ten seconds. */
const restLimitMs = 180_000;

/** Every server, engine and agent answers again; throws with a sentence where one does not. */
export async function awaitHealth({ servers, nodes }: Place): Promise<void> {
  for (const { client, host } of servers)
    await until(`server ${host} to answer`, () => client.nodes.list(), answerLimitMs);
  for (const { name, socketPath } of nodes)
    await until(`the engine of ${name}`, () => askEngine<object>(socketPath, '/info'), answerLimitMs);
  const [first] = servers;
  await until(
    'every node to be ready',
    async () => {
      const { data } = (await first?.client.nodes.list()) ?? { data: [] };
      for (const { uuid, status } of data)
        if (status === 'cordoned') await first?.client.nodes.uncordon(uuid);
      return data.every(({ status }) => status === 'ready');
    },
    answerLimitMs,
  );
}

/** Returns when no job lives and no run holds anything, or when the time is up: the audit tells what is left. */
export async function comeToRest(
  place: Place,
  { load, watcher }: { load: Load; watcher: Watcher },
): Promise<void> {
  const endless = load.liveJobs().filter(({ program }) => program.exitCode === null);
  await stopJobs(
    place,
    endless.map(({ uuid }) => uuid),
  );
  await isAtRest(place, ownEndMs);
  await stopJobs(place, await liveJobs(place));
  await isAtRest(place, restLimitMs);
  await watcher.look();
}

async function isAtRest(place: Place, limitMs: number): Promise<void> {
  const { pool } = place.postgres;
  await until(
    'the place to be at rest',
    async () => {
      const { rows } = await pool.query<{ left: number }>(
        `select (select count(*) from jobs where status in ('PENDING', 'ASSIGNED', 'RUNNING'))
           + (select count(*) from job_runs where released_at is null) as left`,
      );
      return Number(rows[0]?.left) === 0;
    },
    limitMs,
  ).catch(() => {});
}

async function liveJobs({ postgres }: Place): Promise<string[]> {
  const { rows } = await postgres.pool.query<{ id: string }>(
    "select id from jobs where status in ('PENDING', 'ASSIGNED', 'RUNNING')",
  );
  return rows.map(({ id }) => id);
}

async function stopJobs({ servers }: Place, uuids: readonly string[]): Promise<void> {
  const [server] = servers;
  if (server === undefined) return;
  for (const uuid of uuids)
    await server.client.jobs.cancel(uuid, { reason: 'the end of the chaos', stop_grace_ms: 500 });
}
