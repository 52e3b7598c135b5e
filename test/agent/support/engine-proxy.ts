// A socket in front of the engine that swallows calls: they arrive, and no answer ever comes.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface EngineProxy extends AsyncDisposable {
  socketPath: string;
  /** `METHOD /path` of what was swallowed. */
  swallowed: string[];
  /** Calls that match are swallowed from now on, but for the first `passedCount`; null: none. */
  swallow(pattern: RegExp | null, passedCount?: number): void;
  /** Whoever waits for an answer to a swallowed call loses its connection. */
  dropSwallowed(): void;
}

export async function startEngineProxy(): Promise<EngineProxy> {
  const engine = (process.env.DOCKER_HOST ?? '').replace('unix://', '');
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-engine-'));
  const socketPath = join(folder, 'sock');
  const swallowed: string[] = [];
  const waiting: ServerResponse[] = [];
  let pattern: RegExp | null = null;
  let passes = 0;
  const server = createServer((asked, answer) => {
    const call = `${asked.method} ${asked.url}`;
    if (!pattern?.test(call) || passes-- > 0) return forward(engine, asked, answer);
    swallowed.push(call);
    waiting.push(answer);
    asked.resume();
  });
  server.listen(socketPath);
  await once(server, 'listening');
  return {
    socketPath,
    swallowed,
    swallow(next, passedCount = 0) {
      pattern = next;
      passes = passedCount;
    },
    dropSwallowed() {
      for (const answer of waiting.splice(0)) answer.destroy();
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(folder, { recursive: true });
    },
  };
}

function forward(socketPath: string, asked: IncomingMessage, answer: ServerResponse): void {
  const { method, url: path, headers } = asked;
  const onward = request({ socketPath, method, path, headers }, (reply) => {
    answer.writeHead(reply.statusCode ?? 502, reply.headers);
    answer.flushHeaders();
    reply.pipe(answer);
  });
  onward.on('error', () => answer.destroy());
  answer.on('close', () => onward.destroy());
  asked.pipe(onward);
}
