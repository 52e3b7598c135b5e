// Writes key files that only their owner can read, and never over another one.
import { writeFile } from 'node:fs/promises';
import { UsageError } from './errors.ts';

export async function writeKeyFile(file: string, content: Record<string, unknown>): Promise<void> {
  const text = `${JSON.stringify(content, null, 2)}\n`;
  try {
    await writeFile(file, text, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    throw new UsageError(`Cannot write the key file ${file}: ${reasonOf(error)}.`, { cause: error });
  }
}

/** Throws before a key is made on the server that could then not be stored. */
export function refuseExisting(isThere: boolean, file: string) {
  if (isThere) throw new UsageError(`${file} exists already: name another file with --out.`);
}

function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : '';
  if (code === 'EEXIST') return 'it exists already';
  if (code === 'ENOENT') return 'its folder does not exist';
  return code === 'EACCES' ? 'permission denied' : String(error);
}
