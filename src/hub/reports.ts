// Reports of agents: turned into life events, applied in batches over all nodes, and acknowledged once stored.
import { type Database, DatabaseUnavailable } from '../db/database.ts';
import { setPortState } from '../db/gateway-ports.ts';
import type { Hints } from '../db/hints.ts';
import { cordonNode } from '../db/node-maintenance.ts';
import { type AppliedEvent, applyRunEvents } from '../db/run-events.ts';
import type { RunProof } from '../domain/receipt.ts';
import type { LifeEvent } from '../domain/transition.ts';
import type { RunEvent } from '../protocol/agent-messages.ts';
import { createBatcher } from './batcher.ts';
import type { AgentSession } from './session.ts';

export interface NodeReport {
  session: AgentSession;
  sequence: number;
  runId: string;
  attempt: number;
  event: RunEvent;
  /** By our monotonic clock: ages in the report count from here, not from when the batch is written. */
  receivedAtMs: number;
}

export interface ReportDeps {
  database: Database;
  hints: Hints;
  /** Monotonic milliseconds. */
  monotonicNow: () => number;
  onRefused: (report: NodeReport) => void;
  onError: (error: unknown) => void;
}

const maxBatch = 500;

/** Takes reports. Of those that cannot be written the connection is closed: the agent sends them again on the next. */
export function createReportSink(deps: ReportDeps) {
  const giveBack = (error: unknown, batch: NodeReport[]) => {
    deps.onError(error);
    for (const { session } of batch) session.close('report not stored');
  };
  return createBatcher<NodeReport>({
    maxSize: maxBatch,
    onError: giveBack,
    async write(batch) {
      const bySession = Map.groupBy(batch, ({ session }) => session);
      try {
        await writeReports(batch, deps);
      } catch (error) {
        if (error instanceof DatabaseUnavailable || bySession.size === 1) throw error;
        // One node's report must not cost the other nodes theirs.
        for (const own of bySession.values())
          await writeReports(own, deps).catch((cause) => giveBack(cause, own));
      }
    },
  });
}

async function writeReports(batch: readonly NodeReport[], deps: ReportDeps): Promise<void> {
  const [portStates, lifeReports] = partition(batch);
  const events = lifeReports.map((report) => ({
    runId: report.runId,
    from: {
      nodeId: report.session.identity.nodeId,
      attempt: report.attempt,
      sessionId: report.session.lifeId,
    },
    event: (nowMs: number) => toLifeEvent(report.event, nowMs - (deps.monotonicNow() - report.receivedAtMs)),
    publish: report.event.kind === 'running' ? report.event.ports : [],
    imageSizeBytes: report.event.kind === 'running' ? report.event.image_size_bytes : null,
  }));
  const applied = await applyRunEvents(deps.database, events, { kind: 'node' });
  for (const [index, report] of lifeReports.entries()) {
    const isStuck = report.event.kind === 'teardown' && report.event.step === 'stuck';
    const isTrue = applied[index]?.kind === 'applied' || applied[index]?.kind === 'ignored';
    if (isStuck && isTrue) await cordonStuckNode(report, deps);
    settle(report, applied[index], deps);
  }
  // After the reports that make runs RUNNING: only those have ports.
  for (const report of portStates) await writePortState(report, deps);
}

/** A node that cannot end a run takes no new work until somebody has looked at it. */
async function cordonStuckNode({ session, event, runId }: LifeReport, { database, hints }: ReportDeps) {
  const { nodeId, accountId } = session.identity;
  const why = event.kind === 'teardown' ? event.reason : undefined;
  const reason = `Job run ${runId} does not end: ${why ?? 'the agent gave no reason.'}`;
  const change = { nodeId, accountId, actor: { kind: 'node' }, reason };
  await database.transaction((sql) => cordonNode(sql, change));
  hints.publish({ kind: 'schedule' });
}

type LifeReport = NodeReport & { event: Exclude<RunEvent, { kind: 'port' }> };
type PortReport = NodeReport & { event: RunEvent & { kind: 'port' } };

/** Whether a port answers is no step of a run's life. */
function partition(batch: readonly NodeReport[]): [PortReport[], LifeReport[]] {
  const isPort = (report: NodeReport): report is PortReport => report.event.kind === 'port';
  const isLife = (report: NodeReport): report is LifeReport => report.event.kind !== 'port';
  return [batch.filter(isPort), batch.filter(isLife)];
}

async function writePortState({ session, runId, attempt, event, sequence }: PortReport, deps: ReportDeps) {
  const { container_port: containerPort, is_ready: isReady, host_key: hostKey } = event;
  const { nodeId } = session.identity;
  await setPortState(deps.database, { runId, nodeId, attempt, containerPort, isReady, hostKey });
  session.send({ type: 'report_ack', sequence });
}

function settle(report: NodeReport, applied: AppliedEvent | undefined, deps: ReportDeps): void {
  // If it lives it says hello again, and then what was not acknowledged.
  if (applied?.kind === 'outdated') {
    report.session.close('another life of this agent said hello');
    return;
  }
  report.session.send({ type: 'report_ack', sequence: report.sequence });
  if (applied?.kind === 'refused') deps.onRefused(report);
  if (applied?.kind !== 'applied') return;
  deps.hints.publish({ kind: 'job', jobId: applied.jobId });
  if (movesPorts(report.event)) deps.hints.publish({ kind: 'ports' });
  // It started without a public port, and is to stop.
  if (report.event.kind === 'running' && applied.run.desired === 'stop')
    deps.hints.publish({ kind: 'node', nodeId: applied.nodeId });
  if (applied.isReleased || applied.job.status === 'PENDING') deps.hints.publish({ kind: 'schedule' });
}

function movesPorts(event: RunEvent): boolean {
  return event.kind === 'exited' || (event.kind === 'running' && event.ports.length > 0);
}

function toProof({
  proof,
  is_log_complete: isLogComplete,
  steps,
}: RunEvent & { kind: 'released' }): RunProof | null {
  if (proof === undefined) return null;
  const { is_whole: isWhole, gpus, ...remains } = proof;
  return {
    ...remains,
    isWhole,
    isLogComplete,
    gpus: gpus.map(({ baseline_mib: baselineMib, used_mib: usedMib, ...gpu }) => ({
      ...gpu,
      baselineMib,
      usedMib,
    })),
    steps: steps.map(({ step, took_ms: afterMs }) => ({ step, afterMs })),
  };
}

/** `nowMs` is the database's time at which the report arrived. */
function toLifeEvent(event: LifeReport['event'], nowMs: number): LifeEvent {
  switch (event.kind) {
    case 'preparing':
      return { kind: 'preparing', progress: event.progress };
    case 'running':
      return {
        kind: 'running',
        startedAtMs: nowMs - event.started_ms_ago,
        imageDigest: event.image_digest,
        containerId: event.container_id ?? null,
      };
    case 'exited':
      return {
        kind: 'exited',
        end: {
          exitCode: event.exit_code,
          exitSignal: event.exit_signal,
          isOomKilled: event.is_oom_killed,
          endedAtMs: nowMs - event.ended_ms_ago,
          error: event.error,
          lastLogLines: event.last_log_lines,
        },
      };
    case 'teardown':
      return {
        kind: 'teardown_step',
        step: event.step,
        afterMs: event.after_ms ?? null,
        text: event.reason ?? null,
      };
    case 'released':
      return { kind: 'released', proof: toProof(event) };
  }
}
