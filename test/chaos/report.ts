// What a chaos run tells: a line while it goes on, a table at its end.
import { type FaultKind, faultKinds } from './faults.ts';
import { type Finding, findingKinds } from './findings.ts';

export interface ChaosReport {
  seed: string;
  minutes: number;
  folder: string;
  jobs: { submitted: number; byStatus: Record<string, number>; byProgram: Record<string, number> };
  stops: number;
  bulkStops: number;
  visits: { answered: number; failed: number };
  /** Nodes that were cordoned because a run did not end in time, and let work again. */
  uncordons: number;
  repeatedRequests: number;
  runs: { count: number; containers: number; endsByCode: Record<string, number> };
  teardowns: Record<string, number>;
  receipts: Record<string, number>;
  logs: { runs: number; bytes: number; engineLosses: number; engineHaste: number; givenUp: number };
  faults: Record<FaultKind, number>;
  /** Left by engines that were killed in the middle of a start. */
  emptyShims: number;
  /** Milliseconds from the last fault's end until nothing was left to do. */
  restMs: number;
  findings: Finding[];
}

export function tableOf(report: ChaosReport): string {
  const { jobs, runs, logs, faults, findings } = report;
  const faultRows = faultKinds.map((kind) => `  ${kind.padEnd(28)} ${String(faults[kind]).padStart(5)}`);
  const found = findingKinds.map(
    (kind) => `${kind} ${findings.filter((finding) => finding.kind === kind).length}`,
  );
  return [
    `chaos, ${report.minutes} min, seed ${report.seed} (choices repeat with the seed, timing does not)`,
    `jobs       ${jobs.submitted} acknowledged: ${words(jobs.byStatus)}`,
    `programs   ${words(jobs.byProgram)}`,
    `stops      ${report.stops} answered, some by ${report.bulkStops} bulk stops; teardowns: ${words(report.teardowns)}`,
    `runs       ${runs.count} in ${runs.containers} containers; failed by: ${words(runs.endsByCode)}`,
    `receipts   ${words(report.receipts)}`,
    `logs       ${logs.runs} read, ${(logs.bytes / 1e6).toFixed(1)} MB; ${logs.engineLosses} cut by an engine's death, ${logs.engineHaste} by its haste, ${logs.givenUp} with a lost node`,
    `ports      ${report.visits.answered} visits answered, ${report.visits.failed} not`,
    `engines    ${report.emptyShims} empty shims left by killed engines`,
    `cordoned   ${report.uncordons} times, for a run that did not end in time`,
    `requests   ${report.repeatedRequests} sent again`,
    `rest       ${(report.restMs / 1000).toFixed(1)} s after the last fault`,
    `faults     ${Object.values(faults).reduce((sum, count) => sum + count, 0)}`,
    ...faultRows,
    `findings   ${found.join(', ')}`,
    ...findings.slice(0, 40).map((finding) => `  ${describe(finding)}`),
    ...(findings.length > 40 ? [`  and ${findings.length - 40} more`] : []),
    ...(findings.length > 0 ? [`the place is kept in ${report.folder}`] : []),
  ].join('\n');
}

function describe({ kind, text, jobUuid, runUuid, node, containerId }: Finding): string {
  const places = [
    jobUuid && `job ${jobUuid}`,
    runUuid && `run ${runUuid}`,
    node && `node ${node}`,
    containerId && `container ${containerId.slice(0, 12)}`,
  ].filter(Boolean);
  return `${kind}: ${text}${places.length > 0 ? ` (${places.join(', ')})` : ''}`;
}

function words(counts: Record<string, number>): string {
  const parts = Object.entries(counts).map(([word, count]) => `${word} ${count}`);
  return parts.length === 0 ? 'none' : parts.join(', ');
}

export function countBy<T>(items: Iterable<T>, wordOf: (item: T) => string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const item of items) counts[wordOf(item)] = (counts[wordOf(item)] ?? 0) + 1;
  return counts;
}
