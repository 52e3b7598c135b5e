// Starter processes, scratch folders and queries for the tests of the embedded PostgreSQL.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import type { PostgresConnection } from '../../src/embedded/postgres-connection.ts';

export const isRoot = process.getuid?.() === 0;
export const needsRoot = isRoot ? false : 'needs root';
export const cloneFolder = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export type Ready = {
  kind: 'ready';
  connection: PostgresConnection;
  wasAdopted: boolean;
  major: number;
  postgresPid: number;
};
export type Failed = { kind: 'failed'; name: string; message: string };
type Line = Ready | Failed | { kind: 'log'; line: string };

export type Starter = {
  process: ChildProcess;
  lines: Line[];
  /** The first line that is not progress. */
  outcome: Promise<Ready | Failed>;
  stop(): Promise<void>;
  kill(): Promise<void>;
};

/** `cloneAt`: where the starter sees this clone (bound there in a mount namespace). `uid`: whom it runs as. */
export type StarterOptions = { uid?: number; cloneAt?: string; binds?: [source: string, target: string][] };

/** A folder under /tmp that anybody may enter, gone after the test. */
export function scratchFolder(t: TestContext): string {
  const folder = mkdtempSync('/tmp/flotilla-embedded-');
  t.after(() => rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }));
  return folder;
}

/** Starts a starter on the data directory; a PostgreSQL that is left at the end of the test is stopped. */
export function launch(t: TestContext, dataDirectory: string, options: StarterOptions = {}): Starter {
  const child = spawn(
    '/bin/sh',
    ['-ec', enterScript(options), 'sh', ...starterCommand(dataDirectory, options)],
    {
      cwd: '/',
      env: { PATH: process.env.PATH ?? '', HOME: '/nonexistent' },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const lines: Line[] = [];
  const outcome = new Promise<Ready | Failed>((resolve) => {
    createInterface({ input: child.stdout }).on('line', (text) => {
      const line: Line = JSON.parse(text);
      lines.push(line);
      if (line.kind !== 'log') resolve(line);
    });
    child.on('exit', (code) => resolve({ kind: 'failed', name: 'Exit', message: `exit code ${code}` }));
  });
  const exited = once(child, 'exit');
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    await exited;
  };
  t.after(async () => {
    await end('SIGKILL');
    const ready = lines.findLast((line) => line.kind === 'ready');
    if (ready !== undefined) await endPostgres(ready.postgresPid);
  });
  const stop = async () => {
    await end('SIGTERM');
    assert.equal(child.signalCode, null, 'a clean stop runs to its end');
  };
  return { process: child, lines, outcome, stop, kill: () => end('SIGKILL') };
}

function starterCommand(dataDirectory: string, options: StarterOptions): string[] {
  const clone = options.cloneAt ?? cloneFolder;
  const inClone = (path: string) =>
    path.startsWith(cloneFolder) ? join(clone, relative(cloneFolder, path)) : path;
  return [inClone(process.execPath), join(clone, 'test/embedded/starter.ts'), dataDirectory];
}

/** Every step replaces the shell, so signals reach the starter itself. */
function enterScript({ uid, cloneAt, binds = [] }: StarterOptions): string {
  const all = cloneAt === undefined ? binds : [[cloneFolder, cloneAt], ...binds];
  const mounts = all.map(([source, target]) => `mount --bind '${source}' '${target}'`);
  const identity = uid === undefined ? '' : `setpriv --reuid ${uid} --regid ${uid} --clear-groups -- `;
  if (mounts.length === 0) return `exec ${identity}"$@"`;
  return `exec unshare --mount -- /bin/sh -ec '${[...mounts.map(quoteAgain), `exec ${identity}"$@"`].join('; ')}' sh "$@"`;
}

function quoteAgain(command: string): string {
  return command.replaceAll("'", `'\\''`);
}

/** Runs it as a user that cannot read this clone where it lies: the clone is bound to a folder of its own. */
export function asPlainUser(scratch: string, uid = 65534): StarterOptions {
  if (!isRoot) return {};
  const cloneAt = join(scratch, 'clone');
  mkdirSync(cloneAt);
  return { uid, cloneAt };
}

export async function launchReady(t: TestContext, dataDirectory: string, options: StarterOptions = {}) {
  const starter = launch(t, dataDirectory, options);
  const outcome = await starter.outcome;
  assert.equal(outcome.kind, 'ready', JSON.stringify(outcome));
  return { starter, ready: outcome };
}

export async function launchFailed(
  t: TestContext,
  dataDirectory: string,
  options: StarterOptions = {},
): Promise<Failed> {
  const outcome = await launch(t, dataDirectory, options).outcome;
  assert.equal(outcome.kind, 'failed', JSON.stringify(outcome));
  return outcome;
}

export async function query(connection: PostgresConnection, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ ...connection, connectionTimeoutMillis: 5_000, query_timeout: 10_000 });
  client.on('error', () => {});
  try {
    await client.connect();
    return (await client.query(sql)).rows;
  } finally {
    await client.end().catch(() => {});
  }
}

/** Asks again until it holds; for what another process does in its own time. */
export async function eventually(
  what: string,
  holds: () => boolean | Promise<boolean>,
  limitMs = 15_000,
): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `not within ${limitMs} ms: ${what}`);
    await sleep(30);
  }
}

async function endPostgres(pid: number): Promise<void> {
  try {
    process.kill(pid, 'SIGQUIT');
  } catch {
    return;
  }
  await sleep(200);
}
