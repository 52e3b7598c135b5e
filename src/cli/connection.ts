// Finds the server and the key that a command speaks with: options, then environment, then the local server's key file.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UsageError } from './errors.ts';
import type { Io } from './io.ts';
import type { NodeKey } from './roles.ts';

export interface ConnectionOptions {
  url?: string;
  keyFile?: string;
  caFile?: string;
}

/** What the SDK's client is made of. `ca` is PEM text. */
export interface Connection {
  url: string;
  publicKey: string;
  secretKey: string;
  ca?: string;
}

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

/** Throws UsageError with what to do when no key or no address is found. */
export async function findConnection(io: Surroundings, options: ConnectionOptions): Promise<Connection> {
  const key = await findKey(io, options);
  const url = options.url || io.env.FLOTILLA_URL || key.url;
  if (!url) throw new UsageError('No server address: give --url, or set FLOTILLA_URL.');
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) {
    throw new UsageError(`"${url}" is not a server address: write it like http://127.0.0.1:7070.`);
  }
  const caFile = options.caFile || io.env.FLOTILLA_CA_FILE;
  const ca = caFile ? await readText(caFile, 'certificate authority') : key.ca;
  return { url, publicKey: key.publicKey, secretKey: key.secretKey, ...(ca ? { ca } : {}) };
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
      `No key found in ${file}: start a server here with "flotilla up", or name one elsewhere with --url and --key-file (or FLOTILLA_URL, FLOTILLA_PUBLIC_KEY and FLOTILLA_SECRET_KEY).`,
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
