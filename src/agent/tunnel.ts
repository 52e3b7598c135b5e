// Data connections from the agent's side: dialled when the server asks, then HTTP/2 with the roles turned round.
import type { ClientRequest } from 'node:http';
import { request as httpRequest } from 'node:http';
import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import { request as httpsRequest } from 'node:https';
import type { Duplex } from 'node:stream';
import { agentDataPath, dataProtocol } from '../protocol/agent-messages.ts';
import {
  connectionWindowBytes,
  dataPingMs,
  maxStreamsPerSession,
  parseStreamTarget,
  refusalHeaders,
  type StreamKind,
  type StreamRefusal,
  type StreamTarget,
  sessionMemoryMib,
  streamWindowBytes,
} from '../protocol/data-streams.ts';
import type { AgentLog } from './log.ts';

export type StreamHandler = (
  stream: ServerHttp2Stream,
  request: { target: StreamTarget; headers: IncomingHttpHeaders },
) => void;

export interface TunnelOptions {
  /** The server that control is connected to. */
  serverUrl: string;
  signHeaders: (method: string, path: string) => Record<string, string>;
  /** PEM of the authority that the server's certificate must come from. */
  ca?: string;
  log: AgentLog;
  /** Who takes the streams of a kind. */
  handlers: Partial<Record<StreamKind, StreamHandler>>;
}

const dialTimeoutMs = 8_000;

export class Tunnel {
  readonly #options: TunnelOptions;
  readonly #sessions = new Set<ServerHttp2Session>();
  /** Tickets being dialled: a server that asks again meanwhile means the same connection. */
  readonly #dialling = new Set<string>();
  #isClosed = false;

  constructor(options: TunnelOptions) {
    this.#options = options;
  }

  /** Empty `url`: the server that control is connected to, which is also tried when the other cannot be reached. */
  async dial({ url, ticket }: { url: string; ticket: string }): Promise<void> {
    const { serverUrl, log } = this.#options;
    if (this.#isClosed || this.#dialling.has(ticket)) return;
    this.#dialling.add(ticket);
    try {
      const first = url === '' ? serverUrl : url;
      await this.#dialOne(first, ticket).catch((error: unknown) => {
        if (first === serverUrl || error instanceof DialRefused) throw error;
        return this.#dialOne(serverUrl, ticket);
      });
    } catch (error) {
      log.warn({ url, reason: String(error) }, 'a data connection could not be dialled');
    } finally {
      this.#dialling.delete(ticket);
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const session of this.#sessions) session.destroy();
  }

  async #dialOne(url: string, ticket: string): Promise<void> {
    const { socket, head } = await this.#upgrade(
      url,
      `${agentDataPath}?ticket=${encodeURIComponent(ticket)}`,
    );
    if (this.#isClosed) {
      socket.destroy();
      return;
    }
    if (head.length > 0) socket.unshift(head);
    this.#serve(socket);
  }

  #upgrade(url: string, path: string): Promise<{ socket: Duplex; head: Buffer }> {
    const { signHeaders, ca } = this.#options;
    const target = new URL(url);
    const headers = { ...signHeaders('GET', path), connection: 'Upgrade', upgrade: dataProtocol };
    const options = { method: 'GET', path, headers, agent: false, host: hostOf(target), port: target.port };
    return new Promise((resolve, reject) => {
      const request: ClientRequest =
        target.protocol === 'https:'
          ? httpsRequest({ ...options, ...(ca === undefined ? {} : { ca }) })
          : httpRequest(options);
      const timer = setTimeout(() => request.destroy(new Error('it did not answer in time')), dialTimeoutMs);
      request.once('close', () => clearTimeout(timer));
      request.on('error', reject);
      request.on('response', (response) => {
        response.resume();
        reject(new DialRefused(`the server answered ${response.statusCode}`));
        request.destroy();
      });
      request.on('upgrade', (_response, socket, head) => {
        clearTimeout(timer);
        resolve({ socket, head });
      });
      request.end();
    });
  }

  #serve(socket: Duplex): void {
    socket.on('error', () => {});
    const session = performServerHandshake(socket, {
      maxSessionMemory: sessionMemoryMib,
      // The server is trusted: its clients' resets are not an attack on us.
      streamResetBurst: 1_000_000,
      streamResetRate: 1_000_000,
      settings: { initialWindowSize: streamWindowBytes, maxConcurrentStreams: maxStreamsPerSession },
    });
    session.setLocalWindowSize(connectionWindowBytes);
    this.#sessions.add(session);
    const stopPings = keepAlive(session);
    session.on('error', () => {});
    session.once('close', () => {
      stopPings();
      this.#sessions.delete(session);
    });
    session.on('stream', (stream, headers) => this.#take(stream, headers));
  }

  #take(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    stream.on('error', () => {});
    const target = parseStreamTarget(headers);
    const handler = target === null ? undefined : this.#options.handlers[target.kind];
    if (target === null || handler === undefined)
      refuse(stream, {
        status: 501,
        code: 'unsupported',
        message: 'This agent knows no such stream; update it.',
      });
    else handler(stream, { target, headers });
  }
}

/** The server was reached and said no: another way to it would hear the same. */
class DialRefused extends Error {}

export function refuse(stream: ServerHttp2Stream, refusal: StreamRefusal): void {
  if (stream.destroyed || stream.headersSent) return;
  stream.respond(refusalHeaders(refusal), { endStream: true });
  stream.close(constants.NGHTTP2_NO_ERROR);
}

/** Finds a server that went away without a word. Returns the way to stop. */
function keepAlive(session: ServerHttp2Session): () => void {
  let patience: NodeJS.Timeout | undefined;
  const pinger = setInterval(() => {
    patience = setTimeout(() => session.destroy(), dataPingMs - 1_000);
    session.ping((error) => {
      if (error === null) clearTimeout(patience);
    });
  }, dataPingMs);
  return () => {
    clearInterval(pinger);
    clearTimeout(patience);
  };
}

/** Brackets around IPv6 belong to URLs only. */
function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, '$1');
}
