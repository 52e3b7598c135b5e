// A real PostgreSQL for simulations: durability off, one database a seed from a template, the clock replaced by ours.
import pg from 'pg';
import { createDatabase, type Database, type Statement } from '../../src/db/database.ts';
import { migrate } from '../../src/db/migrate.ts';
import { startTestPostgres } from '../support/postgres.ts';
import { epochMs } from './world.ts';

/** Chosen for speed and for the same plan every time; nothing here is kept. */
const settings = {
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  autovacuum: 'off',
  jit: 'off',
  max_parallel_workers_per_gather: '0',
  synchronize_seqscans: 'off',
  log_min_messages: 'fatal',
  checkpoint_timeout: '1h',
  max_wal_size: '8GB',
};
/** A lock that another session holds is not free sooner: only one statement runs at a time. */
const lockTimeoutMs = 1;

const clockSql = `create or replace function flotilla_now() returns timestamptz language sql stable parallel safe
  as $$select to_timestamp(current_setting('simulation.now_ms')::double precision / 1000)$$`;

/** What the checks read after each statement: every change of a status, an amount or an allocation, in order. */
const watchSql = `
  create unlogged table simulation_changes (id bigint generated always as identity primary key, kind text, was jsonb, now jsonb);
  create function simulation_note() returns trigger language plpgsql as $$
  begin
    insert into simulation_changes (kind, was, now)
    values (tg_argv[0], case when tg_op = 'INSERT' then null else to_jsonb(old) - array['container', 'sealed', 'token_sealed', 'progress', 'inventory'] end,
      case when tg_op = 'DELETE' then null else to_jsonb(new) - array['container', 'sealed', 'token_sealed', 'progress', 'inventory'] end);
    return null;
  end
  $$;
  create trigger simulation_jobs after insert or update or delete on jobs
    for each row execute function simulation_note('job');
  create trigger simulation_runs after insert or delete on job_runs for each row execute function simulation_note('run');
  create trigger simulation_runs_changed after update on job_runs for each row
    when ((old.status, old.released_at, old.teardown_state, old.desired, old.started_at, old.ended_at) is distinct from
      (new.status, new.released_at, new.teardown_state, new.desired, new.started_at, new.ended_at))
    execute function simulation_note('run');
  create trigger simulation_nodes after insert or delete on nodes for each row execute function simulation_note('node');
  create trigger simulation_nodes_changed after update on nodes for each row
    when ((old.status, old.is_cordoned, old.cpu_allocated, old.ram_allocated, old.storage_allocated, old.run_count,
        old.cpu_count, old.ram_bytes, old.storage_bytes, old.gpus) is distinct from
      (new.status, new.is_cordoned, new.cpu_allocated, new.ram_allocated, new.storage_allocated, new.run_count,
        new.cpu_count, new.ram_bytes, new.storage_bytes, new.gpus))
    execute function simulation_note('node');
  create trigger simulation_gpus after insert or delete on gpu_allocations
    for each row execute function simulation_note('gpu');
  create trigger simulation_events after insert on job_events for each row execute function simulation_note('event')`;

export type StatementOutcome =
  | { kind: 'done'; rows: unknown[] }
  | { kind: 'failed'; error: unknown }
  /** Another transaction holds a lock it needs; nothing of it was done. */
  | { kind: 'blocked' };

export class RealSession {
  readonly #client: pg.Client;
  #toldMs = Number.NaN;

  constructor(client: pg.Client) {
    this.#client = client;
  }

  async query(statement: Statement | string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
    const query = typeof statement === 'string' ? { text: statement } : statement;
    return (await this.#client.query({ ...query, values })).rows;
  }

  async run(
    statement: Statement | string,
    values: readonly unknown[],
    at: { nowMs: number; mayBlock: boolean; isInTransaction: boolean },
  ): Promise<StatementOutcome> {
    const query = typeof statement === 'string' ? { text: statement } : statement;
    const isEnd = query.text === 'commit' || query.text === 'rollback';
    const needsSavepoint = at.mayBlock && at.isInTransaction && !isEnd;
    try {
      if (!isEnd) await this.#tellTime(at.nowMs);
      if (needsSavepoint) await this.#client.query('savepoint simulation');
      const { rows } = await this.#client.query({ ...query, values: values as unknown[] });
      if (query.text === 'rollback') this.#toldMs = Number.NaN;
      return { kind: 'done', rows };
    } catch (error) {
      const isBlocked = error instanceof pg.DatabaseError && error.code === '55P03';
      if (needsSavepoint) await this.#client.query('rollback to savepoint simulation');
      return isBlocked ? { kind: 'blocked' } : { kind: 'failed', error };
    }
  }

  forgetTime(): void {
    this.#toldMs = Number.NaN;
  }

  async #tellTime(nowMs: number): Promise<void> {
    if (nowMs === this.#toldMs) return;
    await this.#client.query({
      name: 'simulation_now',
      text: "select set_config('simulation.now_ms', $1, false)",
      values: [(epochMs + nowMs).toFixed(3)],
    });
    this.#toldMs = nowMs;
  }

  end(): Promise<void> {
    return this.#client.end();
  }
}

export async function rollbackQuietly(session: RealSession): Promise<void> {
  await session.query('rollback').catch(() => {});
  session.forgetTime();
}

/** Sessions of one database: one for statements by themselves, and one for each open transaction. */
export class SessionPool {
  readonly main: RealSession;
  readonly #config: pg.ClientConfig;
  readonly #free: RealSession[] = [];
  readonly #all: RealSession[];

  private constructor(main: RealSession, config: pg.ClientConfig) {
    this.main = main;
    this.#config = config;
    this.#all = [main];
  }

  static async open(config: pg.ClientConfig): Promise<SessionPool> {
    return new SessionPool(await openSession(config), config);
  }

  /** A session with its transaction begun. */
  async take(): Promise<RealSession> {
    let session = this.#free.pop();
    if (session === undefined) {
      session = await openSession(this.#config);
      this.#all.push(session);
    }
    session.forgetTime();
    await session.query('begin');
    return session;
  }

  /** For what is set up before the first step, when nobody else is there. */
  database(): Database {
    const query = async <Row>(statement: Statement | string, values: readonly unknown[] = []) =>
      (await this.main.query(statement, [...values])) as Row[];
    const refuse = () => Promise.reject(new Error('Nobody listens while things are set up.'));
    return { query, transaction: (work) => work({ query }), dedicatedClient: refuse, close: async () => {} };
  }

  giveBack(session: RealSession): void {
    this.#free.push(session);
  }

  async close(): Promise<void> {
    for (const session of this.#all) await session.end();
  }
}

async function openSession(config: pg.ClientConfig): Promise<RealSession> {
  const client = new pg.Client(config);
  client.on('error', () => {});
  await client.connect();
  await client.query(`set lock_timeout = '${lockTimeoutMs}ms'`);
  await client.query(`set simulation.now_ms = '${epochMs}'`);
  return new RealSession(client);
}

export interface SimulationPostgres {
  /** A fresh database with the schema and the simulated clock. */
  openDatabase(): Promise<SessionPool>;
  stop(): Promise<void>;
}

export async function startSimulationPostgres(): Promise<SimulationPostgres> {
  const postgres = await startTestPostgres();
  const templateUrl = await postgres.createDatabase();
  const template = new URL(templateUrl).pathname.slice(1);
  const adminUrl = templateUrl.replace(`/${template}?`, '/postgres?');
  const admin = new pg.Client({ connectionString: adminUrl });
  admin.on('error', () => {});
  await admin.connect();
  for (const [name, value] of Object.entries(settings))
    await admin.query(`alter system set ${name} = '${value}'`);
  await admin.query('select pg_reload_conf()');
  await prepareTemplate(templateUrl);
  let count = 0;
  let last: { name: string; pool: SessionPool } | null = null;
  const dropLast = async () => {
    if (last === null) return;
    await last.pool.close();
    await admin.query(`drop database ${last.name} with (force)`);
    last = null;
  };
  return {
    async openDatabase() {
      await dropLast();
      count += 1;
      const name = `seed_${count}`;
      await admin.query(`create database ${name} template ${template}`);
      const config = sessionConfig(templateUrl.replace(`/${template}?`, `/${name}?`));
      const pool = await SessionPool.open(config);
      last = { name, pool };
      return pool;
    },
    async stop() {
      await dropLast();
      await admin.end();
      await postgres.stop();
    },
  };
}

async function prepareTemplate(url: string): Promise<void> {
  const database = createDatabase({ connection: { url }, poolSize: 1 });
  try {
    await migrate(database);
    await database.query(clockSql);
    await database.query(watchSql);
  } finally {
    await database.close();
  }
}

const int8Oid = 20;
const timestamptzOid = 1184;

/** Values as src/db/database.ts reads them: times are epoch milliseconds, bigint is number. */
function sessionConfig(url: string): pg.ClientConfig {
  const getTypeParser = (oid: number, format?: 'text' | 'binary') => {
    if (oid === int8Oid) return Number;
    if (oid === timestamptzOid)
      return (text: string) => Date.parse(text.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00'));
    return pg.types.getTypeParser(oid, format as 'text');
  };
  return {
    connectionString: url,
    application_name: 'simulation',
    types: { getTypeParser: getTypeParser as typeof pg.types.getTypeParser },
  };
}
