// What every command works with: the process around it, the roles, and a client for the server it finds.
import { type Client, createClient } from '../sdk/client.ts';
import { type ConnectionOptions, findConnection } from './connection.ts';
import type { Io } from './io.ts';
import type { Roles } from './roles.ts';

export interface Cli {
  io: Io;
  roles: Roles;
  /** Runs `work` with a client and closes it after. */
  withClient<T>(options: ConnectionOptions, work: (client: Client) => Promise<T>): Promise<T>;
  /** What the process ends with when no error was thrown. */
  exitCode: number;
}

export function createCli(io: Io, roles: Roles): Cli {
  return {
    io,
    roles,
    exitCode: 0,
    async withClient(options, work) {
      const client = createClient(await findConnection(io, options));
      try {
        return await work(client);
      } finally {
        client.close();
      }
    },
  };
}

/** Runs `work` until Ctrl-C: null then. */
export async function untilInterrupted<T>(
  io: Io,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T | null> {
  const controller = new AbortController();
  const forget = io.onInterrupt(() => controller.abort());
  try {
    return await work(controller.signal);
  } catch (error) {
    if (controller.signal.aborted) return null;
    throw error;
  } finally {
    forget();
  }
}
