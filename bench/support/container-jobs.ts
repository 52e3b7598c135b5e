// Jobs in real containers for the benchmarks: submit, and wait for a status as a client that polls closely.
import type { JobStatus } from '../../src/domain/job.ts';
import type { CreateJobBody, Job } from '../../src/protocol/job.ts';
import { image } from './docker.ts';
import type { Flotilla } from './flotilla.ts';

const pollMs = 3;
const limitMs = 60_000;

interface ImageName {
  image: string;
  tag: string;
  host?: string;
}

export function submitJob(
  { client }: Flotilla,
  options: { command: string[]; stopGraceMs?: number; gpuCount?: number; image?: ImageName },
): Promise<Job> {
  const { command, stopGraceMs, gpuCount } = options;
  const container = { ...(options.image ?? image), command, ports: [], env: { PURPOSE: 'benchmark' } };
  const body: CreateJobBody = {
    ...{ task: 'BATCH', title: 'benchmark', max_timeout_run_ms: 600_000, max_timeout_assign_ms: 600_000 },
    ...(gpuCount === undefined ? {} : { gpu_count: gpuCount }),
    parameters: {
      type: 'docker',
      parameters: stopGraceMs === undefined ? container : { ...container, stop_grace_ms: stopGraceMs },
    },
  };
  return client.jobs.create(body);
}

export async function untilStatus({ client }: Flotilla, uuid: string, wanted: JobStatus): Promise<Job> {
  const giveUpAt = performance.now() + limitMs;
  for (;;) {
    const job = await client.jobs.get(uuid);
    if (job.status === wanted) return job;
    const hasEnded = job.completed_at !== null;
    if (hasEnded || performance.now() > giveUpAt)
      throw new Error(`The job is ${job.status} and not ${wanted}: ${job.status_reason}`);
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}
