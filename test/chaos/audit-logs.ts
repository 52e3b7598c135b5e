// What the logs must hold after a chaos run: each line that a program wrote, once and in order, up to its end.
import { readFileSync } from 'node:fs';
import type { Client } from '../../src/sdk/client.ts';
import { type Evidence, engineDeaths, type Finding, faultsOn, nodeOf, type RunRow } from './findings.ts';
import { outputProblem } from './programs.ts';

export interface LogAudit {
  findings: Finding[];
  runCount: number;
  byteCount: number;
  /** Logs that are not as written, of runs whose engine was killed meanwhile: the engine itself loses what it had read. */
  engineLossCount: number;
  /** Of runs whose engine did not wait for the end of the output: see `hadEngineHaste`. */
  engineHasteCount: number;
  /** Of runs that were given up with their silent node before it had sent the rest, and whose receipts say so. */
  givenUpCount: number;
}

const readersAtOnce = 6;

/** Reads every log through the API. */
export async function auditLogs(client: Client, evidence: Evidence): Promise<LogAudit> {
  const audit: LogAudit = {
    findings: [],
    runCount: 0,
    byteCount: 0,
    engineLossCount: 0,
    engineHasteCount: 0,
    givenUpCount: 0,
  };
  const left = evidence.runs.filter(({ job_id }) => evidence.acknowledged.has(job_id));
  const readNext = async (): Promise<void> => {
    for (let run = left.pop(); run !== undefined; run = left.pop()) {
      await auditLog(client, { evidence, run, audit });
    }
  };
  await Promise.all(Array.from({ length: readersAtOnce }, readNext));
  return audit;
}

async function auditLog(
  client: Client,
  { evidence, run, audit }: { evidence: Evidence; run: RunRow; audit: LogAudit },
): Promise<void> {
  const program = evidence.acknowledged.get(run.job_id)?.program;
  // What never ran writes nothing of its own.
  if (program === undefined || program.kind === 'absent') return;
  const text = await readLog(client, run.id);
  audit.runCount += 1;
  audit.byteCount += Buffer.byteLength(text);
  const endedByItself = run.status === 'COMPLETED' || run.status === 'FAILED';
  const isWhole =
    endedByItself &&
    run.started_at !== null &&
    program.exitCode !== null &&
    run.exit_code === program.exitCode;
  const problem =
    run.started_at === null && text === ''
      ? null
      : outputProblem(text, { program, runUuid: run.id, isWhole });
  if (problem === null) return;
  if (hadEngineDeath(evidence, run)) {
    audit.engineLossCount += 1;
    return;
  }
  const isPrefix = outputProblem(text, { program, runUuid: run.id, isWhole: false }) === null;
  if (isPrefix && run.is_fenced && run.is_log_complete === false) {
    audit.givenUpCount += 1;
    return;
  }
  if (isPrefix && hadEngineHaste(evidence, run)) {
    audit.engineHasteCount += 1;
    return;
  }
  const finding = { kind: 'log', text: `${program.kind}, ${run.status}: ${problem}` } as const;
  audit.findings.push({ ...finding, jobUuid: run.job_id, runUuid: run.id, node: run.node_id });
}

function hadEngineDeath(evidence: Evidence, run: RunRow): boolean {
  const kinds = [...engineDeaths, 'container_kill'] as const;
  const node = nodeOf(evidence, run);
  const toMs = run.released_at ?? Date.now();
  const fromMs = run.started_at ?? toMs;
  return node !== undefined && faultsOn(evidence, node, { kinds, fromMs, toMs }).length > 0;
}

/** Docker 20.10 waits ten seconds for its own logger, and says when that was not enough. */
const hasteLine = /^time="([^"]+)".*Logger didn't exit in time: logs may be truncated/gm;

function hadEngineHaste(evidence: Evidence, run: RunRow): boolean {
  const node = nodeOf(evidence, run);
  if (node === undefined || run.started_at === null) return false;
  const [fromMs, toMs] = [run.started_at, run.released_at ?? Date.now()];
  const times = [...readFileSync(node.engineLog, 'utf8').matchAll(hasteLine)].map(([, at = '']) =>
    Date.parse(at),
  );
  return times.some((atMs) => atMs >= fromMs && atMs <= toMs);
}

async function readLog(client: Client, runUuid: string): Promise<string> {
  const texts: string[] = [];
  let offset = 0;
  for (;;) {
    const slice = await client.runs.logs(runUuid, { offset });
    texts.push(slice.text);
    if (slice.next_offset >= slice.total_bytes || slice.next_offset === offset) return texts.join('');
    offset = slice.next_offset;
  }
}
