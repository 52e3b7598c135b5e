// Finds the server and the key or session that a command speaks with: options, environment, "flotilla login", the local key file.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Credentials } from '../sdk/client.ts';
import { UsageError } from './errors.ts';
import type { Io } from './io.ts';
import type { NodeKey } from './roles.ts';
import { readSessionFile, sessionTokens } from './session-file.ts';

export interface ConnectionOptions {
  url?: string;
  keyFile?: string;
  caFile?: string;
}

/** What the SDK's client is made of. `ca` is PEM text. */
export type Connection = { url: string; ca?: string } & Credentials;
type KeyConnection = { url: string; ca?: string; publicKey: string; secretKey: string };

type Surroundings = Pick<Io, 'env' | 'homeDirectory' | 'isRoot'>;

interface Key {
  publicKey: string;
  secretKey: string;
  url: string | null;
  ca: string | null;
  nodeUuid: string | null;
}

/** Where everything of a local server lies: FLOTILLA_DATA_DIR, else the system's or the person's own folder. */
export function defaultDataDirectory(io: Surroundings): string {
  const ownFolder = io.isRoot ? '/var/lib/flotilla' : join(io.homeDirectory, '.flotilla');
  return io.env.FLOTILLA_DATA_DIR || ownFolder;
}

/** The session of `flotilla login`. */
export function sessionFileOf(io: Surroundings): string {
  return join(defaultDataDirectory(io), 'session.json');
}

/** Throws UsageError with what to do when no key or no address is found. */
export async function findConnection(io: Surroundings, options: ConnectionOptions): Promise<Connection> {
  return (await findSession(io, options)) ?? findKeyConnection(io, options);
}

/** With a key, though there is a session. */
export async function findKeyConnection(
  io: Surroundings,
  options: ConnectionOptions,
): Promise<KeyConnection> {
  const key = await findKey(io, options);
  const { publicKey, secretKey } = key;
  return { ...(await placeOf(io, options, key)), publicKey, secretKey };
}

/** Where to sign in: as named, else where somebody was signed in before, else the server of this machine. */
export async function findServer(
  io: Surroundings,
  options: ConnectionOptions,
): Promise<{ url: string; ca?: string }> {
  if (options.url || io.env.FLOTILLA_URL) return placeOf(io, options, { url: null, ca: null });
  const session = await readSessionFile(sessionFileOf(io)).catch(() => null);
  return placeOf(io, options, session ?? (await findKey(io, options)));
}

/** A key that was named comes first, and the session's tokens go to its own server alone. */
async function findSession(io: Surroundings, options: ConnectionOptions): Promise<Connection | null> {
  const { env } = io;
  if (options.keyFile || env.FLOTILLA_PUBLIC_KEY || env.FLOTILLA_SECRET_KEY || env.FLOTILLA_KEY_FILE) {
    return null;
  }
  const file = sessionFileOf(io);
  const session = await readSessionFile(file);
  if (session === null) return null;
  const place = await placeOf(io, options, session);
  if (new URL(place.url).origin !== new URL(session.url).origin) return null;
  return { ...place, token: sessionTokens(file) };
}

async function placeOf(
  io: Surroundings,
  options: ConnectionOptions,
  known: { url: string | null; ca: string | null },
): Promise<{ url: string; ca?: string }> {
  const url = options.url || io.env.FLOTILLA_URL || known.url;
  if (!url) throw new UsageError('No server address: give --url, or set FLOTILLA_URL.');
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) {
    throw new UsageError(`"${url}" is not a server address: write it like http://127.0.0.1:7070.`);
  }
  const caFile = options.caFile || io.env.FLOTILLA_CA_FILE;
  const ca = caFile ? await readText(caFile, 'certificate authority') : known.ca;
  return { url, ...(ca ? { ca } : {}) };
}

async function findKey(io: Surroundings, options: ConnectionOptions): Promise<Key> {
  if (options.keyFile) return readKeyFile(options.keyFile);
  const publicKey = io.env.FLOTILLA_PUBLIC_KEY;
  const secretKey = io.env.FLOTILLA_SECRET_KEY;
  if (publicKey && secretKey) return { publicKey, secretKey, url: null, ca: null, nodeUuid: null };
  if (publicKey || secretKey) {
    throw new UsageError('Set both FLOTILLA_PUBLIC_KEY and FLOTILLA_SECRET_KEY, or neither.');
  }
  if (io.env.FLOTILLA_KEY_FILE) return readKeyFile(io.env.FLOTILLA_KEY_FILE);
  return readLocalKey(join(defaultDataDirectory(io), 'admin-key.json'));
}

/** The key file of a node, as "flotilla node register" writes it. */
export async function readNodeKey(file: string): Promise<NodeKey> {
  const key = await readKeyFile(file);
  if (!key.url || !key.nodeUuid) {
    throw new UsageError(
      `${file} is no node's key file: "flotilla node register" writes one, with url and node_uuid.`,
    );
  }
  return {
    url: key.url,
    publicKey: key.publicKey,
    secretKey: key.secretKey,
    nodeUuid: key.nodeUuid,
    ca: key.ca,
  };
}

async function readLocalKey(file: string): Promise<Key> {
  try {
    return await readKeyFile(file);
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw new UsageError(
      `No key found in ${file}: start a server here with "flotilla up", sign in with "flotilla login --url URL", or name one elsewhere with --url and --key-file (or FLOTILLA_URL, FLOTILLA_PUBLIC_KEY and FLOTILLA_SECRET_KEY).`,
      { cause: error },
    );
  }
}

async function readKeyFile(file: string): Promise<Key> {
  const text = await readText(file, 'key');
  const fields = parseObject(text);
  const { public_key: publicKey, secret_key: secretKey, url, ca, node_uuid: nodeUuid } = fields ?? {};
  if (typeof publicKey !== 'string' || typeof secretKey !== 'string') {
    throw new UsageError(
      `${file} is not a key file: it must be JSON like {"public_key": "pk_…", "secret_key": "sk_…", "url": "http://…"}.`,
    );
  }
  return {
    publicKey,
    secretKey,
    url: typeof url === 'string' ? url : null,
    ca: typeof ca === 'string' ? ca : null,
    nodeUuid: typeof nodeUuid === 'string' ? nodeUuid : null,
  };
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

async function readText(file: string, what: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const reason = isMissing({ cause: error }) ? 'there is no such file' : String(error);
    throw new UsageError(`Cannot read the ${what} file ${file}: ${reason}.`, { cause: error });
  }
}

function isMissing(error: unknown): boolean {
  const cause = error instanceof Object && 'cause' in error ? error.cause : null;
  return cause instanceof Object && 'code' in cause && cause.code === 'ENOENT';
}
