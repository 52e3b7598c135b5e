// A PgBouncer of the test's own in transaction mode: every transaction may get another session, so nothing of one stays.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface PgBouncer {
  url(database: string): string;
  stop(): Promise<void>;
  abandon(): void;
}

export interface PgBouncerOptions {
  folder: string;
  /** Where PostgreSQL's socket is. */
  sockets: string;
  user: { uid?: number; gid?: number };
}

const program = '/usr/sbin/pgbouncer';

export function startPgBouncer({ folder, sockets, user }: PgBouncerOptions): PgBouncer {
  assert.ok(existsSync(program), `no ${program}; install the package pgbouncer`);
  const own = join(folder, 'pgbouncer');
  mkdirSync(own, { mode: 0o700 });
  const config = join(own, 'pgbouncer.ini');
  writeFileSync(config, settings({ sockets, own }));
  if (user.uid !== undefined && user.gid !== undefined)
    for (const path of [own, config]) chownSync(path, user.uid, user.gid);
  // A session of its own, so that Ctrl-C does not end it before the tests' own clean-up.
  const child: ChildProcess = spawn(program, ['-q', config], { ...user, stdio: 'ignore', detached: true });
  const isRunning = () => child.exitCode === null && child.signalCode === null;
  return {
    url: (database) => `postgres://anyone@localhost:6432/${database}?host=${encodeURIComponent(own)}`,
    async stop() {
      if (!isRunning()) return;
      const exited = once(child, 'exit');
      // At once; SIGINT would wait for the clients.
      child.kill('SIGTERM');
      await exited;
    },
    abandon: () => void (isRunning() && child.kill('SIGKILL')),
  };
}

/** Round robin gives each transaction the session that rested longest: the least like the one before. */
function settings({ sockets, own }: { sockets: string; own: string }): string {
  return `[databases]
* = host=${sockets} port=5432 user=postgres
[pgbouncer]
unix_socket_dir = ${own}
listen_port = 6432
auth_type = any
pool_mode = transaction
server_round_robin = 1
max_client_conn = 500
default_pool_size = 20
server_idle_timeout = 10
query_wait_timeout = 5
server_login_retry = 1
logfile = ${join(own, 'log')}
`;
}
