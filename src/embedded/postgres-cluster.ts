// The files of one PostgreSQL cluster: its major version, its password, and making it once, whole or not at all.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { PostgresPlace } from './postgres-place.ts';
import { giveTo, type PostgresUser } from './postgres-user.ts';
import { findProcessesIn } from './process-table.ts';

export const superuser = 'flotilla';

/** The folder was written by another PostgreSQL major than the one that would run; nothing was changed. */
export class WrongPostgresMajor extends Error {
  override name = 'WrongPostgresMajor';

  constructor(found: { folder: string; major: string; expected: number }) {
    super(
      `${found.folder} was written by PostgreSQL ${found.major}, and this Flotilla runs PostgreSQL ${found.expected}; ` +
        'start the Flotilla version that wrote it, or move its contents over with pg_dump and psql (see docs/operating.md).',
    );
  }
}

/** `isNew` when nothing is there yet; throws when what is there cannot be run by this major. */
export function inspectCluster(pgFolder: string, major: number): { isNew: boolean } {
  const folder = join(pgFolder, String(major));
  if (!existsSync(folder)) {
    const others = readdirSync(pgFolder).filter((name) => /^\d+$/.test(name));
    const other = others.at(-1);
    if (other === undefined) return { isNew: true };
    throw new WrongPostgresMajor({ folder: join(pgFolder, other), major: other, expected: major });
  }
  if (readdirSync(folder).length === 0) {
    rmdirSync(folder);
    return { isNew: true };
  }
  const found = readVersion(folder);
  if (found !== String(major)) throw new WrongPostgresMajor({ folder, major: found, expected: major });
  return { isNew: false };
}

function readVersion(folder: string): string {
  try {
    return readFileSync(join(folder, 'PG_VERSION'), 'utf8').trim();
  } catch (cause) {
    throw new Error(
      `${folder} holds files but is no PostgreSQL data folder (PG_VERSION cannot be read); restore it from a backup or move it away.`,
      { cause },
    );
  }
}

type ClusterOptions = { pgFolder: string; major: number };

/** The superuser's password, kept 0600 beside the cluster; made with a new cluster only. */
export function readOrCreatePassword(options: ClusterOptions & { isNew: boolean }): string {
  const file = join(options.pgFolder, `${options.major}.password`);
  if (existsSync(file)) {
    const password = readFileSync(file, 'utf8').trim();
    if (password !== '' || !options.isNew) return password;
    rmSync(file);
  }
  if (!options.isNew) {
    throw new Error(
      `The password file ${file} of the existing database is missing; restore it from a backup.`,
    );
  }
  const password = randomBytes(24).toString('base64url');
  const aside = `${file}.${process.pid}`;
  writeFileSync(aside, `${password}\n`, { mode: 0o600, flush: true });
  try {
    linkSync(aside, file);
  } finally {
    rmSync(aside, { force: true });
  }
  return password;
}

type CreateOptions = ClusterOptions & {
  place: PostgresPlace;
  user: PostgresUser;
  password: string;
  environment: NodeJS.ProcessEnv;
};

/** initdb into a folder of its own, then one rename: a killed initdb leaves nothing that looks like a cluster. */
export async function createCluster(options: CreateOptions): Promise<void> {
  const { pgFolder, major, place, user } = options;
  await removePartialClusters(pgFolder);
  const name = `initdb-${randomBytes(4).toString('hex')}`;
  const folder = join(pgFolder, name);
  mkdirSync(folder, { mode: 0o700 });
  const passwordFile = join(folder, 'password');
  writeFileSync(passwordFile, `${options.password}\n`, { mode: 0o600 });
  giveTo(user, passwordFile);
  giveTo(user, folder);
  await runInitdb({ ...options, folder, seenFolder: join(place.pgFolder, name) });
  appendFileSync(join(folder, 'cluster', 'postgresql.conf'), settings);
  renameSync(join(folder, 'cluster'), join(pgFolder, String(major)));
  syncFolder(pgFolder);
  rmSync(folder, { recursive: true, force: true });
}

/** An initdb whose starter was killed may still be writing: it is ended first. */
async function removePartialClusters(pgFolder: string): Promise<void> {
  const partial = readdirSync(pgFolder).filter((name) => name.startsWith('initdb-'));
  for (const folder of partial.map((name) => join(pgFolder, name))) {
    for (const { pid } of findProcessesIn([folder, join(folder, 'cluster')])) killQuietly(pid);
    rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

function syncFolder(path: string): void {
  const folder = openSync(path, 'r');
  fsyncSync(folder);
  closeSync(folder);
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}

async function runInitdb(options: CreateOptions & { folder: string; seenFolder: string }): Promise<void> {
  const { place, major, seenFolder } = options;
  const args = [
    ...['-D', join(seenFolder, 'cluster'), '--username', superuser, '--pwfile', join(seenFolder, 'password')],
    ...['--auth', 'scram-sha-256', '--encoding', 'UTF8', '--data-checksums', ...localeArguments(major)],
  ];
  const { file, args: placed, ...identity } = place.command(join(place.binFolder, 'initdb'), args);
  const child = spawn(file, placed, {
    ...identity,
    cwd: options.folder,
    env: options.environment,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 120_000,
    killSignal: 'SIGKILL',
  });
  const output: Buffer[] = [];
  child.stdout.on('data', (chunk) => output.push(chunk));
  child.stderr.on('data', (chunk) => output.push(chunk));
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  if (code === 0) return;
  const text = Buffer.concat(output).toString().trim();
  throw new Error(`Cannot create the PostgreSQL database in ${options.pgFolder}: ${lastError(text)}`);
}

function lastError(text: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return lines.findLast((line) => /error|fatal/i.test(line)) ?? lines.at(-1) ?? 'initdb was killed';
}

/** Unicode by code point without the system's locales, which differ between machines and change under indexes. */
function localeArguments(major: number): string[] {
  if (major >= 17) return ['--locale-provider', 'builtin', '--builtin-locale', 'C.UTF-8', '--locale', 'C'];
  return ['--locale', process.platform === 'linux' ? 'C.UTF-8' : 'C'];
}

/** Written once; afterwards the file is the operator's to edit. */
const settings = `
# Flotilla's settings for a small machine.
max_connections = 200
shared_buffers = 128MB
work_mem = 8MB
maintenance_work_mem = 64MB
wal_buffers = 8MB
max_wal_size = 1GB
min_wal_size = 128MB
checkpoint_timeout = 15min
random_page_cost = 1.1
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
log_checkpoints = off
log_error_verbosity = terse
log_min_error_statement = panic
`;
