// Routes of series: what a job run and a node used over time.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { getJobRun } from '../../db/job-runs.ts';
import { getNode } from '../../db/nodes.ts';
import { readStats, type StatsRow, type StatsSubject } from '../../db/stats.ts';
import { type AskedRange, statsRange } from '../../domain/stats-range.ts';
import { JobRunStats, NodeStats, type StatsPoint, StatsQuery } from '../../protocol/stats.ts';
import { callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { notFound, validationFailed } from '../errors.ts';
import { timestamp } from '../job-view.ts';
import { startOf } from '../list-query.ts';
import { readParameters, wholeNumber } from '../parameters.ts';
import { rawQueryOf, uuidOf, uuidParams } from '../route-parts.ts';

/** Shown of a node unless more is asked for. */
const nodeSpanMs = 3_600_000;

export function statsRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.get(
    '/v1/job-runs/:uuid/stats',
    {
      schema: {
        tags: ['Job runs'],
        summary: 'CPU, memory, GPU, network and disk of a job run over time',
        params: uuidParams,
        querystring: StatsQuery,
        response: { 200: JobRunStats },
      },
    },
    (request) => getRunStats(request, deps),
  );
  app.get(
    '/v1/nodes/:uuid/stats',
    {
      schema: {
        tags: ['Nodes'],
        summary:
          'CPU, memory, GPU, network and disk of a node over time; the last hour unless from says otherwise',
        params: uuidParams,
        querystring: StatsQuery,
        response: { 200: NodeStats },
      },
    },
    (request) => getNodeStats(request, deps),
  );
}

async function getRunStats(request: FastifyRequest, deps: ApiDeps): Promise<JobRunStats> {
  const caller = callerOf(request);
  requirePermission(caller, 'jobs:read');
  const asked = askedRange(rawQueryOf(request));
  const id = uuidOf(request, 'job run');
  const run = await getJobRun(deps.database, deps.vault, { id, accountId: caller.accountId });
  if (run === null) throw notFound('job run');
  const toMs = run.endedAtMs ?? run.readAtMs;
  const life = { fromMs: run.startedAtMs ?? toMs, toMs };
  const series = await seriesOf(deps, { kind: 'run', id: run.id }, { asked, life });
  return { object: 'job_run_stats', job_run_uuid: run.id, ...series };
}

async function getNodeStats(request: FastifyRequest, deps: ApiDeps): Promise<NodeStats> {
  const caller = callerOf(request);
  requirePermission(caller, 'nodes:read');
  const asked = askedRange(rawQueryOf(request));
  const id = uuidOf(request, 'node');
  const node = await getNode(deps.database, { id, accountId: caller.accountId });
  if (node === null) throw notFound('node');
  const toMs = asked.toMs ?? deps.now();
  const series = await seriesOf(
    deps,
    { kind: 'node', id },
    { asked, life: { fromMs: toMs - nodeSpanMs, toMs } },
  );
  return { object: 'node_stats', node_uuid: id, ...series };
}

async function seriesOf(
  deps: ApiDeps,
  subject: StatsSubject,
  { asked, life }: { asked: AskedRange; life: { fromMs: number; toMs: number } },
) {
  const range = statsRange(asked, life);
  if ('path' in range) throw validationFailed([{ ...range, received: 'another value' }]);
  const rows = await readStats(deps.database, subject, range);
  return {
    from: timestamp(range.fromMs),
    to: timestamp(range.toMs),
    step_ms: range.stepMs,
    points: rows.map(pointOf),
  };
}

function pointOf(row: StatsRow): StatsPoint {
  return {
    timestamp_ms: row.atMs,
    cpu_cores: rounded(row.cpuCores),
    cpu_cores_max: rounded(row.cpuCoresMax),
    memory_bytes: row.memoryBytes,
    memory_bytes_max: row.memoryBytesMax,
    gpu_utilisation: rounded(row.gpuUtilisation),
    gpu_memory_bytes: row.gpuMemoryBytes,
    network_rx_bytes_per_second: rounded(row.networkRx),
    network_tx_bytes_per_second: rounded(row.networkTx),
    disk_read_bytes_per_second: rounded(row.diskRead),
    disk_written_bytes_per_second: rounded(row.diskWritten),
  };
}

function rounded(value: number | null): number | null {
  return value === null ? null : Math.round(value * 1000) / 1000;
}

const time = { expected: 'a date or time (RFC 3339)', read: startOf };
const rangeRules = {
  from: time,
  to: time,
  step_ms: { expected: 'milliseconds', read: wholeNumber(0, 999_999_999_999) },
};

function askedRange(rawQuery: string): AskedRange {
  const { from, to, step_ms } = readParameters(rawQuery, rangeRules);
  return {
    ...(from === undefined ? {} : { fromMs: from }),
    ...(to === undefined ? {} : { toMs: to }),
    ...(step_ms === undefined ? {} : { stepMs: step_ms }),
  };
}
