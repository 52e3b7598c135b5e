// Data connections from the agent's side: dialled when the server asks, then streams that the server opens.
import type { ClientRequest } from 'node:http';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Duplex } from 'node:stream';
import { DataConnection } from '../ingress/data-connection.ts';
import type { DataStream } from '../ingress/data-stream.ts';
import { agentDataPath, dataProtocol } from '../protocol/agent-messages.ts';
import type { StreamKind, StreamOpening } from '../protocol/data-streams.ts';
import type { AgentLog } from './log.ts';
import { readRefusal, type UpgradeRefusal } from './server-clock.ts';
import type { Servers } from './servers.ts';

export type StreamHandler = (stream: DataStream, opening: StreamOpening) => void;

export interface TunnelOptions {
  /** The server that control is connected to is the current one. */
  servers: Pick<Servers, 'all'>;
  signHeaders: (method: string, path: string) => Record<string, string>;
  /** The server's word on its time, when it refused a request for its clock. */
  onServerTime: (serverTimeMs: number) => void;
  /** PEM of the authority that the server's certificate must come from. */
  ca?: string;
  log: AgentLog;
  /** Who takes the streams of a kind. */
  handlers: Partial<Record<StreamKind, StreamHandler>>;
}

const dialTimeoutMs = 8_000;

export class Tunnel {
  readonly #options: TunnelOptions;
  readonly #connections = new Set<DataConnection>();
  #isClosed = false;

  constructor(options: TunnelOptions) {
    this.#options = options;
  }

  /**
   * As many connections as asked for. Empty `url`: one of the servers we know. They are also tried when the one at `url`
   * cannot be reached: it may be known here by another address.
   */
  async dial({ url, ticket, count }: { url: string; ticket: string; count: number }): Promise<void> {
    await Promise.all(Array.from({ length: count }, () => this.#dialAny(url, ticket)));
  }

  close(): void {
    this.#isClosed = true;
    for (const connection of this.#connections) connection.destroy();
  }

  async #dialAny(url: string, ticket: string): Promise<void> {
    const { servers, log } = this.#options;
    const ways = new Set(url === '' ? servers.all : [url, ...servers.all]);
    const reasons: string[] = [];
    for (const way of ways) {
      try {
        return await this.#dialInTime(way, ticket);
      } catch (error) {
        reasons.push(String(error));
        // Who asked was reached: no other server would know the ticket.
        if (error instanceof DialRefused && way === url) break;
      }
    }
    log.warn({ url, reasons }, 'a data connection could not be dialled');
  }

  /** Once more where the server says what time it is. */
  async #dialInTime(url: string, ticket: string): Promise<void> {
    try {
      await this.#dialOne(url, ticket);
    } catch (error) {
      if (!(error instanceof DialRefused) || error.serverTimeMs === null) throw error;
      this.#options.onServerTime(error.serverTimeMs);
      await this.#dialOne(url, ticket);
    }
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
        readRefusal(response).then((refusal) => {
          reject(new DialRefused(`the server answered ${response.statusCode}: ${refusal.message}`, refusal));
          request.destroy();
        });
      });
      request.on('upgrade', (_response, socket, head) => {
        clearTimeout(timer);
        resolve({ socket, head });
      });
      request.end();
    });
  }

  #serve(socket: Duplex): void {
    const connection = new DataConnection(socket, {
      onStream: (stream, opening) => this.#take(stream, opening),
      onClose: () => this.#connections.delete(connection),
    });
    this.#connections.add(connection);
  }

  #take(stream: DataStream, opening: StreamOpening): void {
    const handler = this.#options.handlers[opening.kind];
    if (handler !== undefined) handler(stream, opening);
    else
      stream.refuse({
        status: 501,
        code: 'unsupported',
        message: 'This agent knows no such stream; update it.',
      });
  }
}

/** The server was reached and said no. */
class DialRefused extends Error {
  readonly serverTimeMs: number | null;

  constructor(message: string, { serverTimeMs }: UpgradeRefusal) {
    super(message);
    this.serverTimeMs = serverTimeMs;
  }
}

/** Brackets around IPv6 belong to URLs only. */
function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, '$1');
}
