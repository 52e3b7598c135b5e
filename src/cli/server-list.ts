// The servers that an agent may connect to, from `--server` and the environment.
import { UsageError } from './errors.ts';
import type { Io } from './io.ts';
import { reader } from './options.ts';

const readServers = reader(parseServers);

/** `--server`: each may name several, with commas. */
export function collectServers(text: string, previous: string[] = []): string[] {
  return [...previous, ...readServers(text)];
}

/** Null where FLOTILLA_SERVERS is not set. */
export function serversOfEnvironment({ env }: Pick<Io, 'env'>): string[] | null {
  const text = env.FLOTILLA_SERVERS;
  if (!text) return null;
  try {
    return parseServers(text);
  } catch (cause) {
    throw new UsageError(`FLOTILLA_SERVERS is "${text}". ${(cause as Error).message}`, { cause });
  }
}

function parseServers(text: string): string[] {
  return text.split(',').map((part) => {
    const url = URL.canParse(part.trim()) ? new URL(part.trim()) : null;
    if (url?.protocol === 'http:' || url?.protocol === 'https:') return url.origin;
    throw new Error('It must be the address of a server such as https://flotilla-1.example:7070.');
  });
}
