// Which PostgreSQL the roles that hold state use: from the environment alone, since the URLs carry passwords.
import { UsageError } from './errors.ts';
import type { Io } from './io.ts';
import type { DatabaseOptions } from './roles.ts';

export function databaseOptions({ env }: Pick<Io, 'env'>): DatabaseOptions {
  const databaseUrl = env.DATABASE_URL || null;
  const databaseDirectUrl = env.DATABASE_DIRECT_URL || null;
  if (databaseUrl === null && databaseDirectUrl !== null)
    throw new UsageError(
      'DATABASE_DIRECT_URL goes with DATABASE_URL, the one of a pooler; without a pooler set DATABASE_URL alone.',
    );
  return { databaseUrl, databaseDirectUrl };
}
