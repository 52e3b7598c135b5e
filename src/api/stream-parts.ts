// Small parts of routes that stream: whether a stream is asked for, where it resumes, and its end when its source fails.
import type { FastifyRequest } from 'fastify';
import type { EventStream } from './event-stream.ts';
import { rawQueryOf } from './route-parts.ts';

/** What a browser's EventSource can only say in the query. */
export const streamParameters: ReadonlySet<string> = new Set(['ticket', 'last_event_id']);

export function wantsStream(request: FastifyRequest): boolean {
  if (request.method !== 'GET') return false;
  return /\btext\/event-stream\b/i.test(request.headers.accept ?? '') || queryOf(request).has('ticket');
}

export function lastEventId(request: FastifyRequest): string | null {
  const header = request.headers['last-event-id'];
  const id = typeof header === 'string' && header !== '' ? header : queryOf(request).get('last_event_id');
  return id === null || id === '' ? null : id;
}

/** The query without the parameters of streams. */
export function listQueryOf(request: FastifyRequest): string {
  const query = queryOf(request);
  for (const name of streamParameters) query.delete(name);
  return query.toString();
}

/** The head is sent already, so a failure can only end the stream: the client comes back with its last id. */
export async function keepStream(
  stream: EventStream,
  request: FastifyRequest,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    request.log.warn({ err: error, request_id: request.id }, 'A stream failed; its client comes back.');
    stream.end('failed');
  }
}

function queryOf(request: FastifyRequest): URLSearchParams {
  return new URLSearchParams(rawQueryOf(request));
}
