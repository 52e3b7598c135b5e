// The one door to PostgreSQL: pooled queries, transactions, and a single error for "the database is away".
import pg from 'pg';

/** How to reach PostgreSQL: a URL, or the parts the embedded one hands out. */
export type DatabaseConnection =
  | { url: string }
  | { host: string; port: number; user: string; password: string; database: string };

/** A statement that is prepared once per connection under its name; behind a pooler it goes without the name. */
export interface Statement {
  name: string;
  text: string;
}

export interface Sql {
  /** Rows as PostgreSQL named them: times are epoch milliseconds, bigint is number. */
  query<Row>(statement: Statement | string, values?: readonly unknown[]): Promise<Row[]>;
}

export interface Database extends Sql {
  /** Runs `work` in one transaction; a deadlock or serialization failure is tried again, at most 3 times. */
  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T>;
  /** A connection of its own for LISTEN, past any pooler; the caller ends it. */
  dedicatedClient(): Promise<pg.Client>;
  close(): Promise<void>;
}

/** The database cannot be reached, or went away before it answered: 503, safe to repeat. */
export class DatabaseUnavailable extends Error {
  override name = 'DatabaseUnavailable';
}

/** Its disk is full, so nothing can be stored: 503, safe to repeat once there is space. */
export class DatabaseFull extends DatabaseUnavailable {
  override name = 'DatabaseFull';
}

export interface DatabaseOptions {
  connection: DatabaseConnection;
  /** Past the pooler that `connection` goes through, which hands its sessions round; absent: there is none. */
  directConnection?: DatabaseConnection;
  /** Connections kept for statements; LISTEN uses one more. */
  poolSize?: number;
  /** How long a statement waits for a connection before DatabaseUnavailable. */
  patienceMs?: number;
  onError?: (error: Error) => void;
}

const retryPauseMs = 50;
/** Longer than any statement of ours; a hung server must not hold a request for good. */
const statementTimeoutMs = 30_000;
/** A replica that was paused or cut off within a transaction must not hold its locks: nobody could stop those jobs. */
const begin = "begin; set local idle_in_transaction_session_timeout = '5s'";

export function createDatabase(options: DatabaseOptions): Database {
  const { patienceMs = 5_000 } = options;
  let isClosing = false;
  // Connections that end because we end them are no news.
  const onError = (error: Error) => {
    if (!isClosing) options.onError?.(error);
  };
  const config = clientConfig(options.connection);
  const directConfig = clientConfig(options.directConnection ?? options.connection);
  const asPrepared = options.directConnection === undefined ? named : unnamed;
  const pool = new pg.Pool({ ...config, max: options.poolSize ?? 16, idleTimeoutMillis: 60_000 });
  // Without a listener a connection's end would crash the process: the pool hears idle ones, and one that is lent out
  // may end between the answer to its statement and its return.
  pool.on('error', onError);
  pool.on('connect', (client) => client.on('error', () => {}));

  async function withClient<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await connectPatiently(patienceMs, () => pool.connect());
    let failure: Error | undefined;
    try {
      return await work(client);
    } catch (error) {
      if (sqlState(error) === diskFull)
        throw new DatabaseFull("The database's disk is full.", { cause: error });
      failure = error instanceof Error && isConnectionLoss(error) ? error : undefined;
      throw failure ? new DatabaseUnavailable('The database connection was lost.', { cause: error }) : error;
    } finally {
      client.release(failure);
    }
  }

  return {
    // One that met a deadlock was rolled back whole, as a transaction is.
    query: (statement, values = []) =>
      retryConflicts(() => withClient((client) => runStatement(client, asPrepared(statement), values))),
    transaction: (work) =>
      retryConflicts(() => withClient((client) => inTransaction(client, { work, asPrepared }))),
    dedicatedClient() {
      return connectPatiently(patienceMs, async () => {
        const client = new pg.Client(directConfig);
        client.on('error', onError);
        await client.connect();
        return client;
      });
    },
    close() {
      isClosing = true;
      return pool.end();
    },
  };
}

type AsPrepared = (statement: Statement | string) => Statement | { text: string };

const named: AsPrepared = (statement) => (typeof statement === 'string' ? { text: statement } : statement);
/** A name lives in one session of PostgreSQL, and the next statement may meet another. */
const unnamed: AsPrepared = (statement) => ({
  text: typeof statement === 'string' ? statement : statement.text,
});

async function runStatement<Row>(
  client: pg.PoolClient,
  query: Statement | { text: string },
  values: readonly unknown[],
): Promise<Row[]> {
  const result = await client.query({ ...query, values: values as unknown[] });
  return result.rows as Row[];
}

async function inTransaction<T>(
  client: pg.PoolClient,
  { work, asPrepared }: { work: (sql: Sql) => Promise<T>; asPrepared: AsPrepared },
): Promise<T> {
  await client.query(begin);
  try {
    const result = await work({
      query: (statement, values = []) => runStatement(client, asPrepared(statement), values),
    });
    await client.query('commit');
    return result;
  } catch (error) {
    // A lost connection has rolled back by itself; the first error is the one that matters.
    await client.query('rollback').catch(() => {});
    throw error;
  }
}

async function retryConflicts<T>(attempt: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await attempt();
    } catch (error) {
      const code = sqlState(error);
      if (tries === 3 || (code !== '40P01' && code !== '40001')) throw error;
    }
  }
}

/** Waits for a connection: nothing was sent yet, so trying again is safe. */
async function connectPatiently<T>(patienceMs: number, connect: () => Promise<T>): Promise<T> {
  const giveUpAt = performance.now() + patienceMs;
  for (;;) {
    try {
      return await connect();
    } catch (error) {
      if (!(error instanceof Error) || !isConnectionLoss(error)) throw error;
      if (performance.now() >= giveUpAt) {
        throw new DatabaseUnavailable(`The database cannot be reached: ${error.message}.`, { cause: error });
      }
      await new Promise((resolve) => setTimeout(resolve, retryPauseMs));
    }
  }
}

/** The five-character SQLSTATE of a PostgreSQL error, if it is one. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined;
}

const diskFull = '53100';
const lossStates = new Set(['57P01', '57P02', '57P03', '53300', '25P03']);
const lossMessage =
  /ECONN|ENOENT|EPIPE|ETIMEDOUT|EHOSTUNREACH|Connection terminated|timeout (?:exceeded|expired)|not queryable|Query read timeout/i;

function isConnectionLoss(error: Error): boolean {
  const state = sqlState(error);
  if (state !== undefined) return lossStates.has(state) || state.startsWith('08');
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return lossMessage.test(`${code} ${error.message}`);
}

function clientConfig(connection: DatabaseConnection): pg.ClientConfig {
  const target = 'url' in connection ? { connectionString: connection.url } : connection;
  return {
    ...target,
    application_name: 'flotilla',
    connectionTimeoutMillis: 2_000,
    query_timeout: statementTimeoutMs + 5_000,
    keepAlive: true,
    types: { getTypeParser: typeParser as typeof pg.types.getTypeParser },
  };
}

const int8Oid = 20;
const timestamptzOid = 1184;

function typeParser(oid: number, format?: 'text' | 'binary') {
  if (oid === int8Oid) return Number;
  if (oid === timestamptzOid) return parseTimestamp;
  return pg.types.getTypeParser(oid, format as 'text');
}

/** `2026-01-31 12:00:00.123456+00` to epoch milliseconds; sessions write times in the server's zone. */
function parseTimestamp(text: string): number {
  const [, day, time, sign, hours, minutes = '00'] = timestampPattern.exec(text) ?? [];
  if (day === undefined) throw new Error(`Not a timestamp: ${text}`);
  return Date.parse(`${day}T${time}${sign}${hours}:${minutes}`);
}
const timestampPattern = /^(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d{1,3})?)\d*([+-])(\d\d)(?::?(\d\d))?/;
