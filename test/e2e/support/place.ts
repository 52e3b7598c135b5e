// One installation under test: a data directory of its own, the commands that run on it, and their complete removal.
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { CreateJobBody, Job } from '../../../src/protocol/job.ts';
import type { JobRun } from '../../../src/protocol/job-run.ts';
import { type Client, createClient } from '../../../src/sdk/client.ts';
import { type Command, runCommand, startCommand } from './command.ts';
import { containersWith, docker, needsDocker } from './docker.ts';
import { eventually } from './eventually.ts';

export interface Place {
  folder: string;
  dataDirectory: string;
  /** Starts a command that is ended with the place. */
  start(args: readonly string[], env?: Record<string, string>): Command;
  /** `flotilla up` without a hello job, ready to take jobs; the same port at every start. */
  up(args?: readonly string[], env?: Record<string, string>): Promise<Command>;
  /** `flotilla server`, listening; the same port at every start. */
  server(env?: Record<string, string>): Promise<Command>;
  /** `flotilla node run` for that server, registered at its first start and connected on return. */
  node(env?: Record<string, string>): Promise<Command>;
  /** With the key and the address of admin-key.json. */
  client(ca?: string): Client;
  adminKey(): { public_key: string; secret_key: string; url: string };
  postmasterPid(): number | null;
  remove(): Promise<void>;
}

export function createPlace(): Place {
  const folder = mkdtempSync('/tmp/flotilla-e2e-');
  // PostgreSQL's user passes through; nothing in it is listed.
  chmodSync(folder, 0o711);
  const dataDirectory = join(folder, 'data');
  const commands: Command[] = [];
  const clients: Client[] = [];
  let port = 0;
  const adminKey = () => JSON.parse(readFileSync(join(dataDirectory, 'admin-key.json'), 'utf8'));
  const start = (args: readonly string[], env?: Record<string, string>) => {
    const command = startCommand(args, env);
    commands.push(command);
    return command;
  };
  return {
    folder,
    dataDirectory,
    start,
    adminKey,
    async up(args = [], env) {
      const command = start(
        ['up', '--no-hello', '--port', String(port), '--data-dir', dataDirectory, ...args],
        env,
      );
      await command.until(/^Flotilla is up: /m);
      port = Number(new URL(adminKey().url).port);
      return command;
    },
    async server(env) {
      const command = start(['server', '--port', String(port), '--data-dir', dataDirectory], env);
      await command.until(/The admin key of this machine/);
      port = Number(new URL(adminKey().url).port);
      return command;
    },
    async node(env) {
      const keyFile = join(folder, 'node-key.json');
      if (!existsSync(keyFile)) await register(keyFile, join(dataDirectory, 'admin-key.json'));
      // Registries that tests serve on loopback, and a memory that goes with the place.
      const options = ['--allow-registry', '127.0.0.0/8', '--state-dir', join(folder, 'agent')];
      const command = start(['node', 'run', '--node-key', keyFile, ...options], env);
      await command.until(/Connected to the server/);
      return command;
    },
    client(ca) {
      const { url, public_key: publicKey, secret_key: secretKey } = adminKey();
      const client = createClient({ url, publicKey, secretKey, ...(ca === undefined ? {} : { ca }) });
      clients.push(client);
      return client;
    },
    postmasterPid: () => postmasterPid(dataDirectory),
    async remove() {
      for (const client of clients) client.close();
      for (const command of commands) if (!command.hasEnded()) command.signal('SIGTERM');
      for (const command of commands) await endWithin(command, 10_000);
      endPostgres(postmasterPid(dataDirectory));
      await removeContainers(folder);
      rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    },
  };
}

async function register(keyFile: string, adminKeyFile: string): Promise<void> {
  const options = ['--name', 'far', '--out', keyFile, '--key-file', adminKeyFile];
  const { code, output } = await runCommand(['node', 'register', ...options]);
  assert.equal(code, 0, output);
}

async function endWithin(command: Command, limitMs: number): Promise<void> {
  const timer = setTimeout(() => command.signal('SIGKILL'), limitMs);
  await command.ended;
  clearTimeout(timer);
}

function postmasterPid(dataDirectory: string): number | null {
  const folder = join(dataDirectory, 'pg');
  const majors = existsSync(folder) ? readdirSync(folder).filter((name) => /^\d+$/.test(name)) : [];
  const file = join(folder, majors[0] ?? '', 'postmaster.pid');
  return majors.length > 0 && existsSync(file) ? Number(readFileSync(file, 'utf8').split('\n')[0]) : null;
}

function endPostgres(pid: number | null): void {
  try {
    if (pid !== null) process.kill(pid, 'SIGQUIT');
  } catch {
    // It is gone already.
  }
}

/** Those of every node whose key lies in the place. */
async function removeContainers(folder: string): Promise<void> {
  if (needsDocker.skip) return;
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  for (const name of names.filter((it) => it.endsWith('node-key.json'))) {
    const { node_uuid: nodeUuid } = JSON.parse(readFileSync(join(folder, name), 'utf8'));
    const left = await containersWith(`flotilla.node=${nodeUuid}`);
    if (left.length > 0) await docker('rm', '-f', ...left.map(({ id }) => id));
  }
}

/** Makes a node see this many GPUs; the engine of scripts/with-docker.sh hands them out. */
export function stubGpus(count: number): Record<string, string> {
  const stubs = resolve(import.meta.dirname, '../../support/stubs');
  return { PATH: `${stubs}:${process.env.PATH}`, FLOTILLA_TEST_GPU_COUNT: String(count) };
}

type Container = CreateJobBody['parameters']['parameters'];

/** A job of the busybox image that runs a shell script; ten minutes at most. */
export function aScript(
  script: string,
  wish: { job?: Partial<CreateJobBody>; container?: Partial<Container> } = {},
): CreateJobBody {
  const container: Container = {
    image: 'busybox',
    command: ['sh', '-c', script],
    ports: [],
    ...wish.container,
  };
  const isPersistent = wish.job?.task === 'PERSISTENT';
  return {
    title: 'e2e',
    ...(isPersistent ? {} : { max_timeout_run_ms: 600_000 }),
    ...wish.job,
    parameters: { type: 'docker', parameters: container },
  };
}

/** The job once it has this status; fails at once when it ended with another. */
export async function untilStatus(client: Client, uuid: string, status: Job['status']): Promise<Job> {
  return eventually(`job ${uuid} to be ${status}`, async () => {
    const job = await client.jobs.get(uuid);
    if (job.status === status) return job;
    if (job.completed_at !== null) assert.fail(`Job ${uuid} is ${job.status}: ${job.status_reason}`);
    return null;
  });
}

/** The job's runs, oldest first. */
export async function runsOf(client: Client, jobUuid: string): Promise<JobRun[]> {
  const { data } = await client.runs.list({ limit: 50, filter: { job_uuid: jobUuid } });
  return data.toSorted((a, b) => a.attempt - b.attempt);
}

export async function onlyRunOf(client: Client, jobUuid: string): Promise<JobRun> {
  const runs = await runsOf(client, jobUuid);
  assert.equal(runs.length, 1, `job ${jobUuid} has ${runs.length} runs`);
  const [run] = runs;
  assert.ok(run);
  return run;
}

/** The whole log of a run, once the server says that no byte follows. */
export async function completeLog(client: Client, runUuid: string): Promise<string> {
  await eventually(`the log of run ${runUuid} to be complete`, async () => {
    const { is_complete: isComplete } = await client.runs.logs(runUuid);
    return isComplete;
  });
  return (await client.runs.get(runUuid)).logs;
}
