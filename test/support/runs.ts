// Drives the life of runs past scheduler and agent, with the very functions those two use.
import assert from 'node:assert/strict';
import type { Database } from '../../src/db/database.ts';
import type { Leadership } from '../../src/db/leadership.ts';
import { writePlan } from '../../src/db/placement.ts';
import { type AppliedEvent, applyRunEvents } from '../../src/db/run-events.ts';
import { aProof } from '../../src/domain/life-builders.ts';
import type { LifeEvent } from '../../src/domain/transition.ts';
import { newId } from '../../src/main/ids.ts';

interface Driven {
  database: Database;
  leadership: Leadership | null;
}

export interface PlacedRun {
  id: string;
  nodeId: string;
  attempt: number;
}

/** Places the job on the node as the leader would; null when the plan was overtaken. */
export async function tryPlace(
  { database, leadership }: Driven,
  jobId: string,
  nodeId: string,
): Promise<PlacedRun | null> {
  assert.ok(leadership, 'the test leads: startTestServer({ hasScheduler: false })');
  const [node] = await database.query<{ version: number }>('select version from nodes where id = $1', [
    nodeId,
  ]);
  const runId = newId();
  const size = { cpuCount: 0, ramBytes: 0, storageBytes: 0, gpuUuids: [] };
  const planned = { jobId, runId, nodeId, nodeVersion: node?.version ?? 0, ...size };
  if (!(await writePlan(database, leadership, [planned])).has(jobId)) return null;
  const [run] = await database.query<{ attempt: number }>('select attempt from job_runs where id = $1', [
    runId,
  ]);
  return { id: runId, nodeId, attempt: run?.attempt ?? 0 };
}

export async function place(driven: Driven, jobId: string, nodeId: string): Promise<PlacedRun> {
  const run = await tryPlace(driven, jobId, nodeId);
  assert.ok(run, 'the job was placed');
  return run;
}

/** What the node's agent reports of the run; `later` leaves a time in the database's clock. */
export async function report(
  { database }: Driven,
  run: PlacedRun,
  event: LifeEvent | ((nowMs: number) => LifeEvent),
): Promise<AppliedEvent> {
  const made = typeof event === 'function' ? event : () => event;
  const from = { nodeId: run.nodeId, attempt: run.attempt };
  const [applied] = await applyRunEvents(database, [{ runId: run.id, from, event: made }], { kind: 'node' });
  assert.ok(applied);
  return applied;
}

export const preparing: LifeEvent = { kind: 'preparing', progress: null };
/** With the proof that nothing is left. */
export const released: LifeEvent = { kind: 'released', proof: aProof() };
export const running = (nowMs: number): LifeEvent => ({
  kind: 'running',
  startedAtMs: nowMs,
  imageDigest: null,
  containerId: null,
});

export function exited(exitCode = 0): (nowMs: number) => LifeEvent {
  return (nowMs) => ({
    kind: 'exited',
    end: { exitCode, exitSignal: null, isOomKilled: false, endedAtMs: nowMs, error: null, lastLogLines: '' },
  });
}
