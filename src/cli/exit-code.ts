// Exit codes, and what is said on stderr for an error.
import { AssertionError } from 'node:assert';
import { ApiError, ConnectionError } from '../sdk/errors.ts';
import { NotFoundError, WaitTimeoutError } from './errors.ts';
import { onOneLine } from './text-width.ts';

export const exitCodes = {
  ok: 0,
  other: 1,
  invalid: 2,
  notFound: 3,
  notAllowed: 4,
  unavailable: 5,
  jobFailed: 6,
  jobCancelled: 7,
  waitTimeout: 8,
  interrupted: 130,
} as const;

export const exitCodeHelp = `
Exit codes:
  0    done
  1    wrong usage, or another error
  2    the server refused the request as invalid
  3    not found
  4    not allowed: key, permission, address or credit
  5    server not reachable or not available
  6    the job ended FAILED      (job wait, job submit --wait)
  7    the job ended CANCELLED   (job wait, job submit --wait)
  8    the time for waiting is up; what was waited for goes on
  130  interrupted by Ctrl-C; the job goes on`;

/** null: the job has not ended. */
export function outcomeExitCode(status: string): number | null {
  if (status === 'COMPLETED') return exitCodes.ok;
  if (status === 'FAILED') return exitCodes.jobFailed;
  return status === 'CANCELLED' ? exitCodes.jobCancelled : null;
}

export function errorExitCode(error: unknown): number {
  if (error instanceof ConnectionError) return exitCodes.unavailable;
  if (error instanceof NotFoundError) return exitCodes.notFound;
  if (error instanceof WaitTimeoutError) return exitCodes.waitTimeout;
  return error instanceof ApiError ? statusExitCode(error.status) : exitCodes.other;
}

function statusExitCode(status: number): number {
  if (status === 404) return exitCodes.notFound;
  if (status === 401 || status === 402 || status === 403) return exitCodes.notAllowed;
  return status === 429 || status >= 500 ? exitCodes.unavailable : exitCodes.invalid;
}

/** One sentence, then one line for each wrong field. FLOTILLA_DEBUG shows where it came from. */
export function errorLines(error: unknown, isDebug: boolean): string[] {
  if (!(error instanceof Error)) return [`flotilla: ${String(error)}`];
  const issues = error instanceof ApiError ? issuesOf(error.details).map((line) => onOneLine(line)) : [];
  const message = onOneLine(error.message);
  // The server's message may be its first issue; that would be said twice.
  const isRepeated =
    issues[0]?.startsWith(message.slice(0, message.indexOf(':') + 1)) && message.includes(':');
  const lines = [`flotilla: ${isRepeated ? 'The request is not valid:' : message}`];
  lines.push(...issues.map((line) => `  ${line}`));
  if (error instanceof ApiError) {
    if (error.status >= 500 && error.requestId) lines.push(`  request id ${onOneLine(error.requestId)}`);
  }
  if (isDebug && error.stack) lines.push(error.stack);
  else if (isFault(error)) lines.push('  Run again with FLOTILLA_DEBUG=1 to see where this came from.');
  return lines;
}

/** A mistake in this program, not something that people or machines did. */
function isFault(error: Error): boolean {
  return [TypeError, ReferenceError, RangeError, SyntaxError, AssertionError].some(
    (kind) => error instanceof kind,
  );
}

/** `path: expected …` for each field issue; nothing for details of another form. */
function issuesOf(details: unknown): string[] {
  if (!Array.isArray(details)) return [];
  return details.flatMap((issue: unknown) => {
    if (!(issue instanceof Object) || !('path' in issue) || !('expected' in issue)) return [];
    const received = 'received' in issue && issue.received ? `, got ${issue.received}` : '';
    const hint = 'hint' in issue && issue.hint ? ` (${issue.hint})` : '';
    return [`${issue.path || '/'}: expected ${issue.expected}${received}${hint}`];
  });
}
