// A job and its runs in words: status, why, and the sections of `job get`.
import type { Job } from '../protocol/job.ts';
import type { JobRun } from '../protocol/job-run.ts';
import { formatDuration } from './duration.ts';
import { pullLine } from './pull-progress.ts';
import { stopperText } from './receipt-text.ts';
import { pairLines } from './table.ts';
import { onOneLine } from './text-width.ts';

type Pair = [name: string, value: string | null];

/** The status, and that its containers are still being stopped where they are. */
export function statusWord(job: Job): string {
  return isStopping(job) ? `${job.status} (stopping)` : job.status;
}

/** True until the end of the job's container is proved or given up. */
export function isStopping(job: Pick<Job, 'teardown'>): boolean {
  const state = job.teardown?.state;
  return state !== undefined && state !== 'verified' && state !== 'unverified';
}

/** Why it waits or why it ended; null when there is nothing to say. */
export function jobReason(job: Job): string | null {
  const { pending_reason: pending } = job;
  if (job.status !== 'PENDING' || !pending) return job.status_reason;
  return pending.would_fit ? `${pending.message} ${pending.would_fit}` : pending.message;
}

const logLinesMark = /\s*Last log lines:\s*/;

/** The sentence alone: where the log is at hand, or one line is all there is, its last lines are not repeated. */
export function withoutLogLines(reason: string): string {
  return onOneLine(reason.split(logLinesMark)[0] ?? reason);
}

/** The job for people, in sections. */
export function jobLines(job: Job, runs: JobRun[], nowMs: number): string[] {
  const reason = jobReason(job);
  return [
    ...pairLines([
      ['Job', `${onOneLine(job.title)} (${job.uuid})`],
      ['Status', statusWord(job)],
      ['Reason', reason === null ? null : withoutLogLines(reason)],
      ['Stopped', stoppedBy(job)],
      ['Queue', typeof job.queue_position === 'number' ? `position ${job.queue_position}` : null],
      [
        'Teardown',
        job.teardown && `${job.teardown.state}, requested ${at(job.teardown.requested_at, nowMs)}`,
      ],
      ['Task', job.task],
      ['Description', clean(job.description)],
      ['Labels', keyValues(job.labels)],
      ['Priority', job.priority === 0 ? null : String(job.priority)],
      ['Created', at(job.created_at, nowMs)],
      ['Started', job.started_at && at(job.started_at, nowMs)],
      ['Ended', job.completed_at && at(job.completed_at, nowMs)],
    ]),
    ...section('Needs', needs(job)),
    ...section('Limits', limits(job)),
    ...section('Container', container(job)),
    ...runLines(runs),
    ...urlLines(job),
    ...logLines(reason),
  ];
}

/** Who stopped it, with which key and from where. */
function stoppedBy({ status, status_detail: detail }: Job): string | null {
  if (status !== 'CANCELLED' || detail === null) return null;
  const { by } = detail;
  return typeof by === 'object' ? stopperText(by as Record<string, unknown> | null) : null;
}

function needs(job: Job): Pair[] {
  const gb = (value: number) => (value > 0 ? `${value} GB` : null);
  const gpus = job.gpu_count
    ? `${job.gpu_count}${job.gpu_name ? ` × ${onOneLine(job.gpu_name)}` : ''}`
    : null;
  return [
    ['CPU', job.cpu_count ? String(job.cpu_count) : null],
    ['RAM', gb(job.min_ram_gb)],
    ['Storage', gb(job.min_storage_gb)],
    ['GPUs', gpus],
    ['GPU model', job.gpu_registry_uuid],
    ['VRAM', gb(job.min_vram_gb)],
    ['Regions', job.allowed_region_codes.join(', ') || null],
  ];
}

function limits(job: Job): Pair[] {
  const duration = (ms: number | null) => (ms === null ? null : formatDuration(ms));
  return [
    ['Find a node', duration(job.max_timeout_assign_ms)],
    ['Start', duration(job.max_timeout_start_ms)],
    ['Run', duration(job.max_timeout_run_ms)],
    ['Retries', job.max_retry_count ? String(job.max_retry_count) : null],
    ['Node lost', job.on_node_lost],
    ['Costs at most', job.max_cost_usd === null ? null : `${job.max_cost_usd} USD`],
    ['Stopped unless renewed by', job.renew_by],
    ['Stopped when idle for', job.idle_timeout_ms === null ? null : formatDuration(job.idle_timeout_ms)],
  ];
}

function container(job: Job): Pair[] {
  const it = job.parameters.parameters;
  const words = (list: string[] | null) =>
    list && onOneLine(list.map((word) => JSON.stringify(word)).join(' '));
  return [
    ['Image', `${onOneLine(it.image)}:${onOneLine(it.tag)}`],
    ['Registry', it.host ? `${onOneLine(it.host)}${it.user ? ` as ${onOneLine(it.user)}` : ''}` : null],
    ['Entrypoint', words(it.entrypoint)],
    ['Command', words(it.command)],
    ['Env', keyValues(it.env)],
    ['Ports', it.ports && (it.ports.join(', ') || 'none')],
    ['Allowed', it.allowed_ips.join(', ') || null],
    ['SSH key', clean(it.sshkey) || null],
    ['Stop', stopText(it.stop_signal, it.stop_grace_ms)],
  ];
}

function stopText(signal: string | null, graceMs: number | null): string | null {
  const parts = [signal, graceMs === null ? null : `grace ${formatDuration(graceMs)}`].filter(
    (it) => it !== null,
  );
  return parts.join(', ') || null;
}

function runLines(runs: JobRun[]): string[] {
  if (runs.length === 0) return [];
  const ordered = [...runs].sort((a, b) => a.attempt - b.attempt);
  return ['', 'Runs:', ...ordered.map((run) => `  ${run.attempt}. ${runText(run)}`)];
}

/** `RUNNING for 3m 4s on node …`, `FAILED after 2s on node …: exit code 1`. */
export function runText(run: JobRun): string {
  const isOver = run.ended_at_ms !== null;
  const length =
    run.duration_ms === null ? '' : ` ${isOver ? 'after' : 'for'} ${formatDuration(run.duration_ms)}`;
  const exit = run.exit_code === null ? '' : `, exit code ${run.exit_code}`;
  const signal = run.exit_signal ? `, signal ${run.exit_signal}` : '';
  const progress = run.status === 'PREPARING' && run.progress ? `: ${pullLine(run.progress)}` : '';
  const reason = run.status_reason ? `: ${withoutLogLines(run.status_reason)}` : '';
  return `${run.status}${length} on node ${run.node_uuid}${exit}${signal}${progress}${reason}  (${run.uuid})`;
}

function urlLines(job: Job): string[] {
  if (job.node_urls.length === 0) return [];
  const lines = job.node_urls.map((it) => {
    const protocol = it.description === 'ssh' ? 'ssh' : it.tls ? 'tls' : it.protocol;
    const hostKey = it.host_key_fingerprint ? `  host key ${it.host_key_fingerprint}` : '';
    return `${it.description}: ${protocol}://${it.hostname}:${it.port}${hostKey}`;
  });
  return ['', 'Ports:', ...lines.map(onOneLineKeepingIndent)];
}

function logLines(reason: string | null): string[] {
  const mark = reason === null ? null : logLinesMark.exec(reason);
  const text = mark ? mark.input.slice(mark.index + mark[0].length) : '';
  return text === ''
    ? []
    : ['', 'Last log lines:', ...text.trimEnd().split('\n').map(onOneLineKeepingIndent)];
}

function section(title: string, pairs: Pair[]): string[] {
  const lines = pairLines(pairs, '  ');
  return lines.length > 0 ? ['', `${title}:`, ...lines] : [];
}

function at(time: string, nowMs: number): string {
  const agoMs = nowMs - Date.parse(time);
  return agoMs >= 0 ? `${time} (${formatDuration(agoMs)} ago)` : time;
}

function keyValues(values: Record<string, string>): string | null {
  return (
    onOneLine(
      Object.entries(values)
        .map(([key, value]) => `${key}=${value}`)
        .join(', '),
    ) || null
  );
}

function clean(text: string | null): string | null {
  return text === null ? null : onOneLine(text);
}

function onOneLineKeepingIndent(line: string): string {
  return `  ${onOneLine(line)}`;
}
