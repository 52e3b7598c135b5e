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
  const key = keyOf(env);
  const { public_key: publicKey, secret_key: secretKey } = key;
  if (!publicKey || !secretKey) throw new Error(`There is no key to sign with. ${whatToSet}`);
  const ca = env.FLOTILLA_CA_FILE ? readFileSync(env.FLOTILLA_CA_FILE, 'utf8') : key.ca;
  const url = env.FLOTILLA_URL || key.url || localUrl;
  return createClient({ url, publicKey, secretKey, ...(ca ? { ca } : {}) });
}

type KeyFile = { public_key?: string; secret_key?: string; url?: string | null; ca?: string | null };

function keyOf(env: Variables): KeyFile {
  const { FLOTILLA_PUBLIC_KEY: publicKey, FLOTILLA_SECRET_KEY: secretKey, FLOTILLA_KEY_FILE: path } = env;
  if (publicKey && secretKey) return { public_key: publicKey, secret_key: secretKey };
  // Half a pair beside a file is a mistake: it must not sign with the file's key in silence.
  if (publicKey || secretKey || !path) return {};
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as KeyFile;
  } catch (cause) {
    throw new Error(`The key file ${path} cannot be read. ${whatToSet}`, { cause });
  }
}
