// The program's own log: one JSON line an event, secrets redacted.
import { mkdirSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { destination, type Logger, pino } from 'pino';

/** A log file larger than this is set aside as `.1` at the next start. */
const maxLogBytes = 20 * 1024 * 1024;

const redact = {
  paths: [
    'secret',
    'secret_key',
    'password',
    '*.secret',
    '*.secret_key',
    '*.password',
    '*.registry_secret',
    'headers["x-signature"]',
  ],
  censor: '***',
};

/** Writes to `file`, or to standard output when there is none. The level comes from FLOTILLA_LOG_LEVEL. */
export function createLogger(options: { file: string | null; level: string | undefined }): Logger {
  let isFailing = false;
  const target =
    options.file === null ? destination({ dest: 1, ...bounded }) : destination(openLogFile(options.file));
  // A full disk costs lines of the log, never the program; and at its end they are not waited for.
  target.on('error', () => {
    isFailing = true;
  });
  process.once('beforeExit', () => {
    if (isFailing) target.destroy();
  });
  const level = options.level !== undefined && options.level in pino.levels.values ? options.level : 'info';
  return pino(
    {
      level,
      redact,
      serializers: { err: describeError },
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    target,
  );
}

/** Message, code and cause of an error: drivers hang whole connections on theirs, which have no place in a log. */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return String(error);
  const { name, message, stack, cause } = error;
  const code = 'code' in error ? error.code : undefined;
  return { name, message, code, stack, ...(cause === undefined ? {} : { cause: describeError(cause) }) };
}

/** Characters that wait for a disk that takes none; what comes beyond them is dropped. */
const bounded = { maxLength: 1_000_000 };

function openLogFile(file: string): { dest: string; sync: boolean; mode: number; maxLength: number } {
  // The data directory, which may be made here, is closed to other users.
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (size > maxLogBytes) renameSync(file, `${file}.1`);
  return { dest: file, sync: true, mode: 0o600, ...bounded };
}
