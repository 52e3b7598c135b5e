// The one control connection: dials, signs the upgrade, says hello, keeps alive, and dials again when it is lost.
import type { EventEmitter } from 'node:events';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { WebSocket } from 'ws';
import {
  type AgentMessage,
  agentConnectPath,
  dialAgainCode,
  type Hello,
  type LogChunk,
  type ServerMessage,
  silenceLimitMs,
  type Welcome,
} from '../protocol/agent-messages.ts';
import { type Clock, sleep } from './clock.ts';
import type { AgentLog } from './log.ts';
import { readRefusal, type UpgradeRefusal } from './server-clock.ts';
import type { ServerEnding, Servers } from './servers.ts';

export interface ControlPlaneOptions {
  servers: Servers;
  signHeaders: (method: string, path: string) => Record<string, string>;
  /** Certificate authority in PEM that the server's certificate must come from; absent: the system's. */
  ca?: string;
  /** Another way to the server than a WebSocket over the network. */
  dial?: (url: URL, headers: Record<string, string>) => ControlSocket;
  clock: Clock;
  /** The server's word on its time, when it refused a request for its clock. */
  onServerTime: (serverTimeMs: number) => void;
  /** 0 to 1, for the jitter. */
  random: () => number;
  log: AgentLog;
  /** Gathered before each dial; while it fails nothing is dialled. */
  hello: () => Promise<Hello>;
  /** Whenever the server is heard on a connection that it welcomed. */
  onHeard?: () => void;
  /** false: dial again at once with a new hello. */
  onWelcome: (welcome: Welcome) => boolean;
  onMessage: (message: ServerMessage) => void;
  onDisconnect: () => void;
}

/** What the client needs of a WebSocket; its events are open, message, ping, pong, error, unexpected-response and close. */
export interface ControlSocket extends EventEmitter {
  readonly readyState: number;
  readonly bufferedAmount: number;
  send(text: string, done?: () => void): void;
  ping(): void;
  terminate(): void;
}

const handshakeMs = 10_000;
const welcomeMs = 10_000;
const firstHeartbeatMs = 5_000;
/** Log bytes in the socket's buffer; a report waits behind these at most. */
const maxLogBufferBytes = 1024 * 1024;
const maxMessageBytes = 64 * 1024 * 1024;

/** `at once`: the same server, with another hello. */
type Ending = ServerEnding | 'at once';

export class ControlPlaneClient {
  readonly #options: ControlPlaneOptions;
  #socket: ControlSocket | null = null;
  #isWelcome = false;
  #logQueue: LogChunk[] = [];

  constructor(options: ControlPlaneOptions) {
    this.#options = options;
  }

  /** Stays connected as well as it can until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random, servers } = this.#options;
    while (!signal.aborted) {
      const { ending, wasWelcome } = await this.#connectOnce(signal);
      if (signal.aborted) return;
      if (ending === 'at once') continue;
      const delayMs = servers.turn(ending, { wasWelcome });
      await sleep(clock, delayMs * (0.5 + random() / 2), signal);
    }
  }

  /** false while there is no welcomed connection; the caller keeps what it wanted to say. */
  send(message: AgentMessage): boolean {
    if (!this.#isWelcome || this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** As send, but held back while the socket is full of logs. */
  sendLog(chunk: LogChunk): boolean {
    if (!this.#isWelcome || this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#logQueue.push(chunk);
    this.#pumpLogs(this.#socket);
    return true;
  }

  #pumpLogs(socket: ControlSocket): void {
    while (socket === this.#socket && socket.bufferedAmount < maxLogBufferBytes) {
      const chunk = this.#logQueue.shift();
      if (chunk === undefined) return;
      socket.send(JSON.stringify(chunk), () => this.#pumpLogs(socket));
    }
  }

  async #connectOnce(signal: AbortSignal): Promise<{ ending: Ending; wasWelcome: boolean }> {
    const { log, onDisconnect } = this.#options;
    let wasWelcome = false;
    try {
      const hello = await this.#options.hello();
      if (signal.aborted) return { ending: 'lost', wasWelcome };
      const connection = new Connection(this.#options, hello, {
        onOpen: (socket) => {
          this.#socket = socket;
        },
        onWelcome: () => {
          this.#isWelcome = true;
          wasWelcome = true;
        },
      });
      return { ending: await connection.run(signal), wasWelcome };
    } catch (error) {
      log.warn({ reason: reasonOf(error) }, 'not connected to the control plane');
      return { ending: 'lost', wasWelcome };
    } finally {
      this.#socket = null;
      this.#isWelcome = false;
      this.#logQueue = [];
      if (wasWelcome) onDisconnect();
    }
  }
}

interface ConnectionHooks {
  onOpen: (socket: ControlSocket) => void;
  onWelcome: () => void;
}

/** From dial to close of one socket. */
class Connection {
  readonly #options: ControlPlaneOptions;
  readonly #hello: Hello;
  readonly #hooks: ConnectionHooks;
  #ending: Ending = 'lost';
  #heardAtMs = 0;
  #isWelcome = false;
  #cancelTimers: (() => void)[] = [];

  constructor(options: ControlPlaneOptions, hello: Hello, hooks: ConnectionHooks) {
    this.#options = options;
    this.#hello = hello;
    this.#hooks = hooks;
  }

  run(signal: AbortSignal): Promise<Ending> {
    const socket = this.#dial();
    const close = () => socket.terminate();
    signal.addEventListener('abort', close);
    return new Promise((resolve) => {
      socket.on('close', (code?: number) => {
        for (const cancel of this.#cancelTimers) cancel();
        signal.removeEventListener('abort', close);
        resolve(code === dialAgainCode && this.#ending === 'lost' ? 'again' : this.#ending);
      });
    });
  }

  #dial(): ControlSocket {
    const { servers, signHeaders, ca, log, clock } = this.#options;
    const url = new URL(agentConnectPath, servers.current);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const dial = this.#options.dial ?? ((to, headers) => dialWebSocket(to, { headers, ca }));
    const socket = dial(url, signHeaders('GET', agentConnectPath));
    socket.on('error', (error: Error) => log.warn({ reason: reasonOf(error) }, 'control connection failed'));
    socket.on('unexpected-response', (request: ClientRequest, response: IncomingMessage) => {
      const status = response.statusCode ?? 0;
      readRefusal(response).then((refusal) => {
        this.#refused(status, refusal);
        request.destroy();
        socket.terminate();
      });
    });
    socket.on('open', () => {
      this.#heardAtMs = clock.nowMs();
      socket.send(JSON.stringify(this.#hello));
      this.#hooks.onOpen(socket);
      this.#later(welcomeMs, () => {
        log.warn({}, 'the server did not welcome this node in time');
        socket.terminate();
      });
    });
    socket.on('pong', () => this.#heard());
    socket.on('ping', () => this.#heard());
    socket.on('message', (bytes: Buffer) => this.#receive(socket, bytes.toString()));
    return socket;
  }

  /** With the server's time the next request is signed right, so there is nothing to wait for. */
  #refused(status: number, { message, serverTimeMs }: UpgradeRefusal): void {
    const { log, onServerTime } = this.#options;
    if (serverTimeMs !== null) {
      onServerTime(serverTimeMs);
      return;
    }
    if (status >= 400 && status < 500) this.#ending = 'refused';
    log.error({ status, reason: message }, 'the server refused this node');
  }

  #heard(): void {
    this.#heardAtMs = this.#options.clock.nowMs();
    if (this.#isWelcome) this.#options.onHeard?.();
  }

  #later(delayMs: number, task: () => void): void {
    this.#cancelTimers.push(this.#options.clock.after(delayMs, task));
  }

  #receive(socket: ControlSocket, text: string): void {
    const { log, onMessage } = this.#options;
    this.#heard();
    try {
      const message = JSON.parse(text) as ServerMessage;
      if (message.type === 'welcome') this.#welcome(socket, message);
      else if (message.type === 'refused') {
        this.#ending = 'refused';
        log.error({ code: message.code, reason: message.message }, 'the server refused this node');
        socket.terminate();
      } else onMessage(message);
    } catch (error) {
      log.error({ reason: reasonOf(error) }, 'a message of the server was not understood');
      socket.terminate();
    }
  }

  #welcome(socket: ControlSocket, welcome: Welcome): void {
    this.#isWelcome = true;
    this.#heard();
    for (const cancel of this.#cancelTimers.splice(0)) cancel();
    this.#hooks.onWelcome();
    if (!this.#options.onWelcome(welcome)) {
      this.#ending = 'at once';
      socket.terminate();
      return;
    }
    this.#beat(socket, welcome.heartbeat_ms || firstHeartbeatMs);
  }

  /** Heartbeats say that we live; the pong to our ping says that the server does. */
  #beat(socket: ControlSocket, heartbeatMs: number): void {
    const silentMs = this.#options.clock.nowMs() - this.#heardAtMs;
    if (silentMs > silenceLimitMs(heartbeatMs)) {
      this.#options.log.warn({ silent_ms: Math.round(silentMs) }, 'the server is silent; connecting anew');
      socket.terminate();
      return;
    }
    if (socket.readyState === WebSocket.OPEN) {
      socket.send(JSON.stringify({ type: 'heartbeat' } satisfies AgentMessage));
      socket.ping();
    }
    this.#cancelTimers = [];
    this.#later(heartbeatMs, () => this.#beat(socket, heartbeatMs));
  }
}

function dialWebSocket(
  url: URL,
  { headers, ca }: { headers: Record<string, string>; ca: string | undefined },
): ControlSocket {
  return new WebSocket(url, {
    headers,
    handshakeTimeout: handshakeMs,
    maxPayload: maxMessageBytes,
    perMessageDeflate: false,
    ...(ca === undefined ? {} : { ca }),
  });
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}
