// The 32-byte key that encrypts secrets at rest: from the environment, else from a file made on first use.

import { createHash, randomBytes } from 'node:crypto';
import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';

export type MasterKey = { id: string; key: Buffer };

/** FLOTILLA_MASTER_KEY wins over the file; both hold 32 bytes as base64 or as 64 hex digits. */
export function readOrCreateMasterKey(options: { file: string; env: NodeJS.ProcessEnv }): MasterKey {
  const fromEnvironment = options.env.FLOTILLA_MASTER_KEY;
  if (fromEnvironment !== undefined && fromEnvironment !== '') {
    return parseMasterKey(fromEnvironment, 'The environment variable FLOTILLA_MASTER_KEY');
  }
  const text = readIfPresent(options.file) ?? createKeyFile(options.file);
  return parseMasterKey(text, `The master key file ${options.file}`);
}

function parseMasterKey(text: string, source: string): MasterKey {
  const trimmed = text.trim();
  const key = decode(trimmed);
  if (key === undefined) {
    throw new Error(
      `${source} does not hold a master key: expected 32 bytes as base64 (44 characters) or hex (64 digits), ` +
        `found ${trimmed.length} characters. Restore it from a backup; with another key no stored secret can be read.`,
    );
  }
  return { id: createHash('sha256').update(key).digest('hex').slice(0, 8), key };
}

function decode(text: string): Buffer | undefined {
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, 'hex');
  if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) return undefined;
  const key = Buffer.from(text, 'base64');
  return key.length === 32 ? key : undefined;
}

function readIfPresent(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw new Error(`Cannot read the master key file ${file}; check its owner and mode (0600).`, { cause });
  }
}

/** Written aside and linked into place, so that a crash leaves no half key and two starters agree on one. */
function createKeyFile(file: string): string {
  const text = `${randomBytes(32).toString('base64')}\n`;
  const aside = `${file}.${process.pid}`;
  try {
    writeFileSync(aside, text, { mode: 0o600, flush: true });
    linkSync(aside, file);
    return text;
  } catch (cause) {
    const present = readIfPresent(file);
    if (present !== undefined) return present;
    throw new Error(`Cannot create the master key file ${file}; check that its folder can be written.`, {
      cause,
    });
  } finally {
    rmSync(aside, { force: true });
  }
}
