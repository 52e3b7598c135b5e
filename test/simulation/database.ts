// The simulated way to a real PostgreSQL: every statement of every server is an event of its own, so that the seed
// orders the statements of different sessions; locks, crashes, outages and lost answers included.
//
// One statement runs at a time. One that would wait for a lock is taken back (savepoint) and tried again when another
// transaction has ended, so that which session goes on is the seed's choice and not the machine's.
import pg from 'pg';
import { type Database, DatabaseUnavailable, type Sql, type Statement } from '../../src/db/database.ts';
import { type RealSession, rollbackQuietly, type SessionPool } from './postgres.ts';
import type { SimulatedProcess } from './process.ts';
import type { World } from './world.ts';

/** As src/db/database.ts has it. */
const patienceMs = 5_000;
const answerLimitMs = 35_000;
const idleInTransactionMs = 5_000;
const triesOfTransaction = 3;

interface Call {
  process: SimulatedProcess;
  name: string;
  statement: Statement | string;
  values: readonly unknown[];
  transaction: Transaction | null;
  resolve: (rows: unknown[]) => void;
  reject: (error: unknown) => void;
  isSettled: boolean;
}

interface Transaction {
  process: SimulatedProcess;
  session: RealSession;
  /** Its rollback is done: nothing of it can run any more. */
  isOver: boolean;
  stopWatching: () => void;
  blocked: Call | null;
  usedAtMs: number;
}

interface Delay {
  delayMs: number;
  onDelayed: () => void;
}

export class SimulatedDatabase {
  readonly rates = { answerLost: 0, slow: 0 };
  /** By the name of a statement: the next one takes this long to arrive. */
  readonly #late = new Map<string, Delay>();
  /** By the name of a statement: what happens when the next one has been done, before it is answered. */
  readonly #after = new Map<string, (process: SimulatedProcess) => void>();
  /** After each statement that may have written: what changed is looked at before anything else happens. */
  onWritten: () => Promise<void> = async () => {};
  onExecuted: (call: {
    name: string;
    process: SimulatedProcess;
    values: readonly unknown[];
    rows: unknown[];
  }) => Promise<void> = async () => {};
  readonly #world: World;
  readonly #pool: SessionPool;
  readonly #transactions = new Set<Transaction>();
  #blocked: Call[] = [];
  #waiting: { call: Call; giveUpAtMs: number }[] = [];
  #isAway = false;

  constructor(world: World, pool: SessionPool) {
    this.#world = world;
    this.#pool = pool;
  }

  get openTransactionCount(): number {
    return this.#transactions.size;
  }

  /** The database as one process has it. */
  connect(process: SimulatedProcess): Database {
    const query = <Row>(statement: Statement | string, values: readonly unknown[] = []) =>
      this.#call({ process, statement, values, transaction: null }) as Promise<Row[]>;
    return {
      query,
      transaction: (work) => this.#transact(process, work),
      dedicatedClient: () => Promise.reject(new DatabaseUnavailable('The simulation has no LISTEN.')),
      close: async () => {},
    };
  }

  /** PostgreSQL was killed: transactions are gone, nothing answers. */
  async goAway(): Promise<void> {
    this.#isAway = true;
    for (const transaction of [...this.#transactions]) await this.#end(transaction);
    for (const call of this.#blocked.splice(0)) this.#fail(call, connectionLost());
  }

  /** The next statement of this name comes so late: its server was cut off, or its packets were lost. */
  delayNext(name: string, delay: Delay): void {
    this.#late.set(name, delay);
  }

  /** The next statement of this name is done, and not answered yet. */
  afterNext(name: string, act: (process: SimulatedProcess) => void): void {
    this.#after.set(name, act);
  }

  /** Nothing of what was ordered for a next statement happens. */
  disarm(): void {
    this.#late.clear();
    this.#after.clear();
  }

  comeBack(): void {
    this.#isAway = false;
    for (const { call } of this.#waiting.splice(0)) this.#send(call);
  }

  #call(order: Pick<Call, 'process' | 'statement' | 'values' | 'transaction'>): Promise<unknown[]> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown[]>();
    const call = { ...order, name: nameOf(order.statement), resolve, reject, isSettled: false };
    this.#send(call);
    return promise;
  }

  #send(call: Call): void {
    const { latency, fault } = this.#world.random;
    const isSlow = fault.chance(this.rates.slow);
    if (isSlow) this.#world.count('fault: statement slow');
    const usualMs = isSlow ? latency.between(100, 8_000) : latency.between(0.05, 1.5);
    const delay = this.#late.get(call.name);
    this.#late.delete(call.name);
    delay?.onDelayed();
    this.#world.later(usualMs + (delay?.delayMs ?? 0), {
      process: null,
      what: `sql ${call.process.name} ${call.name}`,
      run: () => this.#arrive(call),
    });
  }

  async #arrive(call: Call): Promise<void> {
    const { transaction, process } = call;
    // What a dead process had sent may still be read from the socket, or not.
    if (!process.isAlive && this.#world.random.fault.chance(0.5)) return;
    if (transaction?.isOver) return this.#fail(call, connectionLost());
    if (this.#isAway) return this.#await(call);
    await this.#run(call);
  }

  /** Nothing was sent yet: the pool tries to connect for a while. */
  #await(call: Call): void {
    if (call.transaction !== null) {
      this.#fail(call, connectionLost());
      return;
    }
    this.#waiting.push({ call, giveUpAtMs: this.#world.nowMs + patienceMs });
    this.#world.later(patienceMs, {
      process: null,
      what: `sql patience ${call.name}`,
      run: () => {
        if (!this.#waiting.some((entry) => entry.call === call)) return;
        this.#waiting = this.#waiting.filter((entry) => entry.call !== call);
        this.#fail(call, new DatabaseUnavailable('The database cannot be reached.'));
      },
    });
  }

  async #run(call: Call): Promise<void> {
    const { transaction } = call;
    if (call.isSettled) return;
    const session = transaction?.session ?? this.#pool.main;
    if (transaction !== null) transaction.usedAtMs = this.#world.nowMs;
    const others = this.#transactions.size - (transaction === null ? 0 : 1);
    const outcome = await session.run(call.statement, call.values, {
      nowMs: this.#world.nowMs,
      mayBlock: others > 0,
      isInTransaction: transaction !== null,
    });
    if (outcome.kind === 'blocked') return this.#block(call);
    if (transaction !== null) transaction.blocked = null;
    if (outcome.kind === 'failed') return this.#fail(call, outcome.error);
    this.#after.get(call.name)?.(call.process);
    this.#after.delete(call.name);
    await this.onExecuted({
      name: call.name,
      process: call.process,
      values: call.values,
      rows: outcome.rows,
    });
    if (call.name === 'commit' || call.name === 'rollback') await this.#ended(transaction);
    if (call.name === 'commit' || (transaction === null && !isRead(call))) await this.onWritten();
    this.#answer(call, outcome.rows);
  }

  #answer(call: Call, rows: unknown[]): void {
    const isLost = this.#world.random.fault.chance(this.rates.answerLost);
    if (isLost) this.#world.count('fault: statement answer lost');
    this.#world.later(this.#world.random.latency.between(0.05, 1), {
      process: call.process,
      what: `rows ${call.name} ${isLost ? 'lost' : rows.length}`,
      run: async () => {
        if (call.isSettled) return;
        if (!isLost) return this.#settle(call, () => call.resolve(rows));
        if (call.transaction !== null && !call.transaction.isOver) await this.#end(call.transaction);
        this.#settle(call, () => call.reject(connectionLost()));
      },
    });
  }

  #fail(call: Call, error: unknown): void {
    this.#world.later(0.1, {
      process: call.process,
      what: `sql failed ${call.name}: ${String(error).slice(0, 120)}`,
      run: () => this.#settle(call, () => call.reject(error)),
    });
  }

  #settle(call: Call, tell: () => void): void {
    if (call.isSettled) return;
    call.isSettled = true;
    tell();
  }

  #block(call: Call): void {
    const { transaction } = call;
    this.#world.count('statement waited for a lock');
    if (transaction !== null) {
      transaction.blocked = call;
      const isDeadlock = [...this.#transactions].every((other) => other.blocked !== null);
      if (isDeadlock) {
        this.#breakDeadlock(call, transaction);
        return;
      }
    }
    this.#blocked.push(call);
    this.#world.later(answerLimitMs, {
      process: null,
      what: `sql limit ${call.name}`,
      run: () => {
        if (!this.#blocked.includes(call)) return;
        this.#blocked = this.#blocked.filter((other) => other !== call);
        this.#fail(call, connectionLost());
      },
    });
  }

  #breakDeadlock(call: Call, transaction: Transaction): void {
    this.#world.count('deadlock broken');
    transaction.blocked = null;
    const error = new pg.DatabaseError('deadlock detected', 0, 'error');
    error.code = '40P01';
    this.#world.later(1_000, { process: null, what: 'deadlock found', run: () => this.#end(transaction) });
    this.#fail(call, error);
  }

  async #end(transaction: Transaction): Promise<void> {
    if (transaction.isOver) return;
    await rollbackQuietly(transaction.session);
    await this.#ended(transaction);
  }

  /** Its locks are free: whoever waited for one tries again. */
  async #ended(transaction: Transaction | null): Promise<void> {
    if (transaction === null || transaction.isOver) return;
    transaction.isOver = true;
    transaction.stopWatching();
    this.#transactions.delete(transaction);
    this.#pool.giveBack(transaction.session);
    for (const call of this.#blocked.splice(0)) {
      if (call.transaction?.isOver) this.#fail(call, connectionLost());
      else
        this.#world.later(this.#world.random.latency.between(0.05, 1), {
          process: null,
          what: `sql again ${call.process.name} ${call.name}`,
          run: () => (call.transaction?.isOver ? this.#fail(call, connectionLost()) : this.#run(call)),
        });
    }
  }

  async #transact<T>(process: SimulatedProcess, work: (sql: Sql) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#attempt(process, work);
      } catch (error) {
        const isConflict = error instanceof pg.DatabaseError && /^(40P01|40001)$/.test(error.code ?? '');
        if (tries === triesOfTransaction || !isConflict) throw error;
      }
    }
  }

  async #attempt<T>(process: SimulatedProcess, work: (sql: Sql) => Promise<T>): Promise<T> {
    const transaction = await this.#begin(process);
    const query = <Row>(statement: Statement | string, values: readonly unknown[] = []) =>
      this.#call({ process, statement, values, transaction }) as Promise<Row[]>;
    try {
      const result = await work({ query });
      await query('commit');
      return result;
    } catch (error) {
      await query('rollback').catch(() => {});
      throw error;
    }
  }

  #begin(process: SimulatedProcess): Promise<Transaction> {
    const { promise, resolve, reject } = Promise.withResolvers<Transaction>();
    this.#world.later(this.#world.random.latency.between(0.05, 1), {
      process: null,
      what: `sql ${process.name} begin`,
      run: async () => {
        if (!process.isAlive) return;
        if (this.#isAway) {
          this.#world.later(patienceMs, {
            process,
            what: 'sql patience begin',
            run: () => reject(new DatabaseUnavailable('The database cannot be reached.')),
          });
          return;
        }
        const session = await this.#pool.take();
        const times = { usedAtMs: this.#world.nowMs, stopWatching: () => {} };
        const transaction: Transaction = { process, session, isOver: false, blocked: null, ...times };
        this.#transactions.add(transaction);
        this.#watchIdle(transaction);
        process.onKill(() =>
          this.#world.later(this.#world.random.latency.between(0.1, 5), {
            process: null,
            what: `session of ${process.name} ends`,
            run: () => this.#end(transaction),
          }),
        );
        resolve(transaction);
      },
    });
    return promise;
  }

  /** A transaction whose server says nothing for too long is rolled back by PostgreSQL. */
  #watchIdle(transaction: Transaction): void {
    const sinceMs = transaction.blocked === null ? transaction.usedAtMs : this.#world.nowMs;
    transaction.stopWatching = this.#world.later(sinceMs + idleInTransactionMs - this.#world.nowMs, {
      process: null,
      what: `idle check ${transaction.process.name}`,
      run: async () => {
        if (transaction.isOver) return;
        const isIdle =
          transaction.blocked === null && transaction.usedAtMs <= this.#world.nowMs - idleInTransactionMs + 1;
        if (!isIdle) return this.#watchIdle(transaction);
        this.#world.count('fault: transaction ended as idle');
        await this.#end(transaction);
      },
    });
  }
}

function connectionLost(): DatabaseUnavailable {
  return new DatabaseUnavailable('The database connection was lost.');
}

function nameOf(statement: Statement | string): string {
  if (typeof statement !== 'string') return statement.name;
  return statement.trim().split(/\s+/).slice(0, 3).join(' ');
}

const readName = /^(select_|list_|read_|count_|mark_feed$)/;

/** Nothing can have changed. */
function isRead({ name, statement }: Call): boolean {
  if (name === 'rollback' || readName.test(name)) return true;
  return (
    typeof statement === 'string' && /^\s*select\b/i.test(statement) && !/flotilla_(?!now)/.test(statement)
  );
}
