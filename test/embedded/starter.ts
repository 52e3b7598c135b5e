// The program of a starter process in the tests: holds a data directory, runs its PostgreSQL, tells what it has in JSON lines.
// Usage: node starter.ts DATA_DIRECTORY

import { openDataDirectory } from '../../src/embedded/data-directory.ts';
import { startEmbeddedPostgres } from '../../src/embedded/postgres.ts';

function tell(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

try {
  const directory = await openDataDirectory(process.argv[2] ?? '');
  const postgres = await startEmbeddedPostgres({
    dataDirectory: directory.path,
    log: (line) => tell({ kind: 'log', line }),
  });
  const keepAlive = setInterval(() => {}, 1_000);
  process.once('SIGTERM', async () => {
    await postgres.stop();
    await directory.release();
    clearInterval(keepAlive);
  });
  const { connection, wasAdopted, major } = postgres;
  tell({ kind: 'ready', connection, wasAdopted, major, postgresPid: postgres.pid() });
} catch (error) {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  tell({ kind: 'failed', name, message });
  process.exitCode = 1;
}
