// A replica's own line to PostgreSQL's sockets, which a test can cut: what was sent then never arrives, as on a network.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';

export interface DatabaseLine {
  /** The URL of the same database over the line. */
  over(url: string): string;
  cut(): void;
  mend(): void;
  close(): void;
}

export function openLine(): DatabaseLine {
  const folder = mkdtempSync('/tmp/flotilla-line-');
  chmodSync(folder, 0o755);
  const servers = new Map<string, Server>();
  const sockets = new Set<Socket>();
  let isCut = false;

  /** PostgreSQL's clients look for this name in the folder. */
  function listen(port: string, target: string): void {
    const name = `.s.PGSQL.${port}`;
    if (servers.has(name)) return;
    const server = createServer((near) => {
      const far = createConnection(join(target, name));
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        sockets.add(from);
        from.on('data', (bytes) => isCut || to.write(bytes));
        from.on('error', () => {});
        from.on('close', () => {
          sockets.delete(from);
          if (!isCut) to.destroy();
        });
      }
    });
    servers.set(name, server.listen(join(folder, name)));
  }

  return {
    over(url) {
      const there = new URL(url);
      listen(there.port, there.searchParams.get('host') ?? '');
      there.searchParams.set('host', folder);
      return there.href;
    },
    cut() {
      isCut = true;
    },
    mend() {
      isCut = false;
      // What was lost in between is not made good: both ends must begin anew.
      for (const socket of sockets) socket.destroy();
    },
    close() {
      for (const socket of sockets) socket.destroy();
      for (const server of servers.values()) server.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
