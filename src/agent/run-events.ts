// What the agent tells of a run: report events made from its record.
import { constants } from 'node:os';
import type { RunEvent } from '../protocol/agent-messages.ts';
import { publishedPorts } from './container-order.ts';
import type { ReportKind } from './next-steps.ts';
import type { PortReading } from './port-probe.ts';
import type { RunRecord } from './run-record.ts';

const maxLogLineBytes = 4096;
const maxLogLines = 10;

export function runEvent(kind: ReportKind | 'preparing', record: RunRecord, nowMs: number): RunEvent {
  const since = (atMs: number | null) => Math.max(0, Math.round(nowMs - (atMs ?? nowMs)));
  switch (kind) {
    case 'preparing':
      return { kind, progress: progressOf(record) };
    case 'running':
      return {
        kind,
        started_ms_ago: since(record.startedAtMs),
        container_id: record.containerId,
        image_digest: record.image?.digest ?? null,
        image_size_bytes: record.image?.sizeBytes ?? null,
        ports: publishedPorts(record.desired?.container, record.image?.exposedPorts ?? []),
      };
    case 'delivered':
    case 'signalled':
    case 'killed':
      return { kind: 'teardown', step: kind, ...afterMs(record, kind) };
    case 'stuck':
      return { kind: 'teardown', step: kind, reason: (record.trouble ?? 'It does not end.').slice(0, 1024) };
    case 'exited':
      return exitedEvent(record, since(record.endedAtMs));
    case 'released':
      return {
        kind,
        is_log_complete: isLogComplete(record),
        steps: record.teardown.map(({ step, tookMs }) => ({ step, took_ms: tookMs })),
        ...(record.proof === null ? {} : { proof: record.proof }),
      };
  }
}

function afterMs({ teardown }: RunRecord, step: string): { after_ms?: number } {
  const line = teardown.find((one) => one.step === step);
  return line === undefined ? {} : { after_ms: line.tookMs };
}

function progressOf({ progress }: RunRecord) {
  if (progress === null) return null;
  return {
    phase: progress.phase,
    received_bytes: progress.receivedBytes,
    total_bytes: progress.totalBytes,
    bytes_per_second: progress.bytesPerSecond,
    eta_ms: progress.etaMs,
  };
}

function exitedEvent(record: RunRecord, endedMsAgo: number): RunEvent {
  return {
    kind: 'exited',
    exit_code: record.exitCode,
    exit_signal: exitSignal(record.exitCode),
    is_oom_killed: record.isOomKilled,
    ended_ms_ago: endedMsAgo,
    ran_ms: record.ranMs,
    error: record.error,
    last_log_lines: record.lastLogLines,
  };
}

/** 128 + n is how a shell or init tells that signal n ended the program. */
function exitSignal(exitCode: number | null): string | null {
  if (exitCode === null || exitCode <= 128) return null;
  const found = Object.entries(constants.signals).find(([, number]) => number === exitCode - 128);
  return found?.[0] ?? null;
}

/** null: a container of a run that was killed, or that vanished, and whose log this agent never read. */
function isLogComplete({ hasStart, containerId, desired, error, shipper, log }: RunRecord): boolean | null {
  if (shipper !== null) return log.state === 'drained' && log.isAcked && !shipper.hasGap;
  const wasTold = typeof desired?.container_id === 'string';
  const mayHaveWritten = hasStart || wasTold || (containerId !== null && error === null);
  return mayHaveWritten ? null : true;
}

/** The end of a log as the report carries it: few lines, valid text, no NUL (databases refuse it). */
export function lastLines(text: string): string {
  const lines = text.replaceAll('\0', '\uFFFD').trimEnd().split('\n').slice(-maxLogLines).join('\n');
  const bytes = Buffer.from(lines);
  if (bytes.length <= maxLogLineBytes) return lines;
  return bytes
    .subarray(bytes.length - maxLogLineBytes)
    .toString('utf8')
    .replace(/^\uFFFD+/, '');
}

/** A published port of a living run answers now, or no longer. */
export function portEvent({ containerPort, isReady, hostKey }: PortReading): RunEvent {
  return { kind: 'port', container_port: containerPort, is_ready: isReady, host_key: hostKey };
}
