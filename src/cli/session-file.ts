// The session of this person on this machine: tokens in a file that only they can read, renewed by one command at a time.
import { open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { SessionTokens } from '../protocol/sign-in.ts';
import { ApiError } from '../sdk/errors.ts';
import { isFresh, refreshSession, type TokenSource } from '../sdk/sign-in.ts';
import { UsageError } from './errors.ts';

/** What `flotilla login` writes. */
export interface SessionFile {
  url: string;
  ca: string | null;
  tokens: SessionTokens;
}

/** Longer than a renewal may take: whoever held the lock before is gone. */
const staleLockMs = 60_000;
const lockLookMs = 50;

/** null: nobody is signed in here. */
export async function readSessionFile(file: string): Promise<SessionFile | null> {
  try {
    const { url, ca, ...tokens } = JSON.parse(await readFile(file, 'utf8')) as SessionTokens & {
      url?: unknown;
      ca?: unknown;
    };
    if (typeof url === 'string' && typeof tokens.access_token === 'string')
      return { url, ca: typeof ca === 'string' ? ca : null, tokens };
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw new UsageError(`Cannot read ${file}: sign in again with "flotilla login".`, { cause: error });
  }
  throw new UsageError(`${file} holds no session: sign in again with "flotilla login".`);
}

/** Whole or not at all. */
export async function writeSessionFile(file: string, { url, ca, tokens }: SessionFile): Promise<void> {
  const draft = `${file}.new`;
  const content = { url, ...(ca === null ? {} : { ca }), ...tokens };
  await writeFile(draft, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 });
  await rename(draft, file);
}

/** Access tokens of the file, for as long as its session goes on. */
export function sessionTokens(file: string): TokenSource {
  let known: SessionTokens | null = null;
  return async () => {
    known ??= (await required(file)).tokens;
    if (!isFresh(known, Date.now())) known = await renew(file);
    return known.access_token;
  };
}

/** Another command may have renewed it while this one waited for its turn. */
async function renew(file: string): Promise<SessionTokens> {
  return withLock(`${file}.lock`, async () => {
    const session = await required(file);
    if (isFresh(session.tokens, Date.now())) return session.tokens;
    const tokens = await refreshed(session);
    await writeSessionFile(file, { ...session, tokens });
    return tokens;
  });
}

async function refreshed({ url, ca, tokens }: SessionFile): Promise<SessionTokens> {
  try {
    return await refreshSession({ url, ...(ca === null ? {} : { ca }) }, tokens.refresh_token);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) throw error;
    throw new UsageError(`You are signed out of ${url}: sign in again with "flotilla login".`, {
      cause: error,
    });
  }
}

async function required(file: string): Promise<SessionFile> {
  const session = await readSessionFile(file);
  if (session !== null) return session;
  throw new UsageError('You are signed out: sign in again with "flotilla login".');
}

async function withLock<T>(lock: string, work: () => Promise<T>): Promise<T> {
  while (!(await takeLock(lock))) await delay(lockLookMs);
  try {
    return await work();
  } finally {
    await rm(lock, { force: true });
  }
}

async function takeLock(lock: string): Promise<boolean> {
  try {
    await (await open(lock, 'wx', 0o600)).close();
    return true;
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  }
  const { mtimeMs } = await stat(lock).catch(() => ({ mtimeMs: Date.now() }));
  if (Date.now() - mtimeMs > staleLockMs) await rm(lock, { force: true });
  return false;
}
