// One TCP connection and how it ended: the gateway's refusals happen below any protocol.
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

const limitMs = 10_000;

/** `refused`: nothing listens. `closed`: ended before any byte. `answered`: a byte came. `silent`: open, but nothing came. */
export type TcpOutcome = 'refused' | 'closed' | 'answered' | 'silent';

/** Sends nothing: an SSH server speaks first. */
export function tryTcp({ hostname, port }: { hostname: string; port: number }): Promise<TcpOutcome> {
  return new Promise((resolve) => {
    const socket = connect(port, hostname);
    const settle = (outcome: TcpOutcome) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(outcome);
    };
    const timer = setTimeout(() => settle('silent'), limitMs);
    socket.on('data', () => settle('answered'));
    socket.on('close', () => settle('closed'));
    socket.on('error', (error: NodeJS.ErrnoException) =>
      settle(error.code === 'ECONNREFUSED' ? 'refused' : 'closed'),
    );
  });
}

/** Nobody listens on it at this moment. */
export async function aFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}
