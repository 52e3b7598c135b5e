// Tickets for streams: browsers cannot sign an EventSource, so a signed request buys the right to open one stream, once.
import type { FastifyRequest } from 'fastify';
import type { Database, Sql } from '../db/database.ts';
import { createTicket, takeTicket } from '../db/tickets.ts';
import { actorOf, type Caller, checkKey } from './auth.ts';
import { ApiError } from './errors.ts';
import type { KeyCache } from './key-cache.ts';
import { rawQueryOf } from './route-parts.ts';
import type { SessionCache } from './session-cache.ts';

export const ticketLifeMs = 60_000;
/** No run: the ticket opens no exec. */
const noRun = '00000000-0000-0000-0000-000000000000';

interface StreamRequest {
  path: string;
  key: Caller['key'];
  session: Caller['session'];
}

/** Routes with `config: { takesTicket: true }` may be opened by one. */
export function hasTicket(request: FastifyRequest): boolean {
  const { takesTicket } = request.routeOptions.config as { takesTicket?: true };
  return takesTicket === true && request.method === 'GET' && ticketOf(request) !== null;
}

/** Answers when the ticket expires, epoch milliseconds. */
export function sellStreamTicket(
  sql: Sql,
  caller: Caller,
  { path, secret }: { path: string; secret: string },
): Promise<number> {
  const { key, session } = caller;
  // Nothing of the key that is secret goes into the row.
  const request: StreamRequest = { path: path.toLowerCase(), key: withoutSecrets(key), session };
  const ticket = { accountId: caller.accountId, runId: noRun, request, actor: actorOf(caller) };
  return createTicket(sql, { ...ticket, secret, lifeMs: ticketLifeMs });
}

/** Who bought it, as long as their key or session still works. */
export async function callerOfTicket(
  request: FastifyRequest,
  deps: { database: Database; keys: KeyCache; sessions: SessionCache; now: () => number },
): Promise<Caller> {
  const ticket = await takeTicket<Partial<StreamRequest>>(deps.database, ticketOf(request) ?? '');
  const { path, key, session = null } = ticket?.request ?? {};
  const [pathname = ''] = request.url.split('?');
  if (ticket === null || key === undefined || path !== pathname.toLowerCase())
    throw new ApiError('permission_denied', 'This ticket is unknown, used or expired; ask for a new one.');
  const present = session === null ? await deps.keys.find(key.publicKey) : key;
  const isSessionOver = session !== null && (await deps.sessions.find(session.id))?.revokedAtMs !== null;
  if (present === null || isSessionOver)
    throw new ApiError('key_expired', 'The key or session that bought this ticket was revoked.');
  checkKey(present, request.ip, deps.now());
  const nonce = { keyId: key.id, value: '' };
  return {
    key: { ...key, expiresAtMs: present.expiresAtMs },
    session,
    accountId: ticket.accountId,
    nonce,
    address: request.ip,
  };
}

function ticketOf(request: FastifyRequest): string | null {
  return new URLSearchParams(rawQueryOf(request)).get('ticket');
}

function withoutSecrets(
  key: Caller['key'] & { secret?: string; previousSecret?: string | null },
): Caller['key'] {
  const { secret: _secret, previousSecret: _previousSecret, ...shown } = key;
  return shown;
}
