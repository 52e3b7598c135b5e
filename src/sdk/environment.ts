// The client for a program that is told by its environment where the server is and who asks.
import { readFileSync } from 'node:fs';
import { type Client, createClient } from './client.ts';

type Variables = Readonly<Record<string, string | undefined>>;

const localUrl = 'http://127.0.0.1:7070';
const whatToSet =
  'Set FLOTILLA_KEY_FILE to a key file (admin-key.json of the server), or FLOTILLA_PUBLIC_KEY and FLOTILLA_SECRET_KEY.';

/**
 * FLOTILLA_PUBLIC_KEY and FLOTILLA_SECRET_KEY, else the file FLOTILLA_KEY_FILE; FLOTILLA_URL, else the file's, else this
 * machine; FLOTILLA_CA_FILE, else the file's. Throws a sentence that says what to set.
 */
export function clientFromEnvironment(env: Variables = process.env): Client {
  const file = readKeyFile(env);
  const {
    FLOTILLA_PUBLIC_KEY: publicKey = file.public_key,
    FLOTILLA_SECRET_KEY: secretKey = file.secret_key,
  } = env;
  if (!publicKey || !secretKey) throw new Error(`There is no key to sign with. ${whatToSet}`);
  const ca = env.FLOTILLA_CA_FILE ? readFileSync(env.FLOTILLA_CA_FILE, 'utf8') : file.ca;
  const url = env.FLOTILLA_URL || file.url || localUrl;
  return createClient({ url, publicKey, secretKey, ...(ca ? { ca } : {}) });
}

type KeyFile = { public_key?: string; secret_key?: string; url?: string | null; ca?: string | null };

function readKeyFile({ FLOTILLA_KEY_FILE: path, FLOTILLA_PUBLIC_KEY: publicKey }: Variables): KeyFile {
  if (!path || publicKey) return {};
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as KeyFile;
  } catch (cause) {
    throw new Error(`The key file ${path} cannot be read. ${whatToSet}`, { cause });
  }
}
