// The hello job: shows on a new installation that a job really runs, line by line with its logs.

import type { Job } from '../protocol/job.ts';
import { type Client, createClient } from '../sdk/client.ts';
import type { KeyFile } from './local-keys.ts';

const script = [
  'echo "Hello from a container of Flotilla."',
  'echo "host $(hostname), $(uname -sm), $(nproc) CPUs"',
  'echo "job $FLOTILLA_JOB_UUID"',
].join('; ');

const limitMs = 120_000;
const pollMs = 50;

/** Submits it and tells its life; answers the job as it ended. */
export async function runHelloJob(options: {
  key: KeyFile;
  ca: string | undefined;
  tell: (line: string) => void;
  signal: AbortSignal;
}): Promise<Job> {
  const { key, ca, tell, signal } = options;
  const client = createClient({
    url: key.url,
    publicKey: key.public_key,
    secretKey: key.secret_key,
    ...(ca ? { ca } : {}),
  });
  try {
    const job = await client.jobs.create({
      title: 'hello',
      task: 'BATCH',
      max_timeout_run_ms: 60_000,
      labels: { flotilla: 'hello' },
      parameters: {
        type: 'docker',
        parameters: { image: 'busybox', tag: 'latest', command: ['sh', '-c', script] },
      },
    });
    const ended = await follow(client, job, { tell, signal });
    await tellLogs(client, ended, tell);
    return ended;
  } finally {
    client.close();
  }
}

async function follow(
  client: Client,
  job: Job,
  { tell, signal }: { tell: (line: string) => void; signal: AbortSignal },
): Promise<Job> {
  const startedAt = performance.now();
  let told: string | undefined;
  let current = job;
  for (;;) {
    if (current.status !== told) {
      tell(
        `hello job ${current.uuid}  ${current.status.padEnd(9)}  +${Math.round(performance.now() - startedAt)} ms`,
      );
      told = current.status;
    }
    if (current.completed_at !== null || signal.aborted) return current;
    if (performance.now() - startedAt > limitMs) {
      throw new Error(
        `The hello job is still ${current.status} after ${limitMs / 1000} s: ${current.pending_reason?.message ?? 'see the log'}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
    current = await client.jobs.get(job.uuid);
  }
}

async function tellLogs(client: Client, job: Job, tell: (line: string) => void): Promise<void> {
  if (job.status_reason !== null) tell(`hello job: ${job.status_reason}`);
  const { data } = await client.runs.list({ filter: { job_uuid: job.uuid } });
  for (const { uuid } of data) {
    const run = await client.runs.get(uuid);
    for (const line of run.logs.split('\n').filter(Boolean)) tell(`  | ${line}`);
  }
}
