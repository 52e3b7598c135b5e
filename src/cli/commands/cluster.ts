// `flotilla cluster restored`: tells a database that it was restored to an earlier state, before its server starts.
import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import { defaultDataDirectory } from '../connection.ts';
import { databaseOptions } from '../database-options.ts';
import { printLines } from '../output.ts';

const help = `
Run it after a backup was restored and before the server starts. Its nodes may hold containers of jobs that the backup
does not know: from now on each removes nothing and takes no work until "flotilla node accept-restore". A node whose
agent remembers work that the database has lost waits for that by itself, also when this was forgotten.
The database is the embedded one in the data directory, or the one that DATABASE_URL names.

Example:
  flotilla cluster restored --data-dir /var/lib/flotilla`;

export function addClusterCommands(program: Command, cli: Cli) {
  const cluster = program
    .command('cluster')
    .summary('the database as a whole')
    .description('Acts on the whole cluster.');
  cluster
    .command('restored')
    .description('Says that the database was restored to an earlier state; its server must be stopped.')
    .option('--data-dir <folder>', 'data directory of the server (FLOTILLA_DATA_DIR)')
    .addHelpText('after', help)
    .action(async (flags: { dataDir?: string }) => {
      const generation = await cli.roles.clusterRestored({
        dataDirectory: flags.dataDir ?? defaultDataDirectory(cli.io),
        ...databaseOptions(cli.io),
      });
      printLines(cli.io.stdout, [
        `The cluster's generation is ${generation}: every node waits for "flotilla node accept-restore" when it is back.`,
      ]);
    });
}
