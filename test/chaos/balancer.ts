// The load balancer before the servers, as agents see it: plain TCP to any server that takes the connection.
import { connect, createServer, type Server, type Socket } from 'node:net';

export interface Balancer {
  close(): void;
}

/** Goes round the servers; one that refuses is passed over. */
export async function startBalancer(options: {
  host: string;
  port: number;
  targets: readonly { host: string; port: number }[];
}): Promise<Balancer> {
  const { targets } = options;
  const sockets = new Set<Socket>();
  let turn = 0;
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  };
  const forward = (client: Socket, triesLeft: number) => {
    const target = targets[turn++ % targets.length];
    if (target === undefined || triesLeft === 0) return client.destroy();
    const upstream = connect(target);
    keep(upstream);
    upstream.once('error', () => forward(client, triesLeft - 1));
    upstream.once('connect', () => {
      upstream.removeAllListeners('error');
      join(client, upstream);
    });
    return client;
  };
  const server: Server = createServer({ allowHalfOpen: true }, (client) => {
    keep(client);
    client.on('error', () => client.destroy());
    forward(client, targets.length);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  return {
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function join(client: Socket, upstream: Socket): void {
  for (const [one, other] of [
    [client, upstream],
    [upstream, client],
  ] as const) {
    one.on('error', () => other.destroy());
    one.on('close', () => other.destroy());
    one.pipe(other);
  }
}
