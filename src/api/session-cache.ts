// Sessions kept in memory for a moment, so that a token costs no read; the hint of one that ended voids its copy at once.
import type { Sql } from '../db/database.ts';
import type { Hints } from '../db/hints.ts';
import { findSession, type Session } from '../db/sessions.ts';

export interface SessionCache {
  find(id: string): Promise<Session | null>;
}

/** What a lost hint can cost: a session that ended works this much longer on another replica. */
const freshMs = 5_000;
/** A bound against a flood of different sessions. */
const maxEntries = 10_000;

export function createSessionCache(deps: { sql: Sql; hints: Hints; now: () => number }): SessionCache {
  const entries = new Map<string, { session: Promise<Session | null>; readAtMs: number }>();
  deps.hints.subscribe((hint) => {
    if (hint.kind === 'session') entries.delete(hint.sessionId);
    if (hint.kind === 'missed') entries.clear();
  });
  return {
    find(id) {
      const cached = entries.get(id);
      if (cached !== undefined && deps.now() - cached.readAtMs < freshMs) return cached.session;
      if (entries.size >= maxEntries) entries.clear();
      const session = findSession(deps.sql, id);
      entries.set(id, { session, readAtMs: deps.now() });
      session.catch(() => entries.delete(id));
      return session;
    },
  };
}
