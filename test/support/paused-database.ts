// A database whose caller can be stopped right before a statement, as SIGSTOP stops a process between two of them.
import type { Database, Sql } from '../../src/db/database.ts';

export interface Pause {
  /** Resolves when the caller stands before the statement. */
  reached: Promise<void>;
  /** Lets it go on. */
  end(): void;
}

export interface PausableDatabase extends Database {
  /** Ends every pause, begun or not. */
  wake(): void;
  /** Stops the caller before the next statement whose name or text matches. */
  pauseBefore(pattern: RegExp): Pause;
}

export function pausable(database: Database): PausableDatabase {
  const pauses = new Set<{ pattern: RegExp; reach: () => void; over: Promise<void> }>();
  const ends: (() => void)[] = [];
  const stopBefore = async (statement: { name: string; text: string } | string) => {
    const words = typeof statement === 'string' ? statement : `${statement.name} ${statement.text}`;
    const pause = [...pauses].find(({ pattern }) => pattern.test(words));
    if (pause === undefined) return;
    pauses.delete(pause);
    pause.reach();
    await pause.over;
  };
  const pausing = (sql: Sql): Sql => ({
    async query(statement, values) {
      await stopBefore(statement);
      return sql.query(statement, values);
    },
  });
  return {
    ...database,
    ...pausing(database),
    wake() {
      for (const end of ends) end();
    },
    transaction: (work) => database.transaction((sql) => work(pausing(sql))),
    pauseBefore(pattern) {
      const reached = Promise.withResolvers<void>();
      const over = Promise.withResolvers<void>();
      pauses.add({ pattern, reach: reached.resolve, over: over.promise });
      ends.push(over.resolve);
      return { reached: reached.promise, end: over.resolve };
    },
  };
}
