// An agent driven by hand: a signed WebSocket whose messages a test sends and awaits one by one.
import assert from 'node:assert/strict';
import WebSocket from 'ws';
import { newId } from '../../src/main/ids.ts';
import {
  type AgentMessage,
  agentConnectPath,
  type Inventory,
  protocolVersion,
  type RunEvent,
  type ServerMessage,
} from '../../src/protocol/agent-messages.ts';
import { anInventory } from './builders.ts';
import type { Client } from './client.ts';

const gone = { state: 'gone', why: null } as const;
/** What an agent reports when nothing of a run is left. */
export const released: RunEvent = {
  kind: 'released',
  is_log_complete: true,
  steps: [],
  proof: {
    ...{ is_whole: true, container: gone, processes: gone, networks: gone },
    ...{ volumes: { state: 'none', why: null }, gpus: [] },
  },
};

type MessageOf<T extends ServerMessage['type']> = Extract<ServerMessage, { type: T }>;

const patienceMs = 10_000;
const heartbeatMs = 2_000;

export class HandAgent {
  /** In the order they came, those that were awaited included. */
  readonly received: ServerMessage[] = [];
  readonly closed: Promise<number>;
  readonly #socket: WebSocket;
  #read = 0;
  #sequence = 0;
  #wake = () => {};
  #beat: NodeJS.Timeout | undefined;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('message', (text) => {
      this.received.push(JSON.parse(String(text)) as ServerMessage);
      this.#wake();
    });
    socket.on('error', () => {});
    this.closed = new Promise((resolve) => socket.on('close', (code) => resolve(code)));
    void this.closed.then(() => this.fallSilent());
  }

  /** Dials; throws what the server answered when it refuses the upgrade. */
  static async dial(client: Client, headers = client.sign('GET', agentConnectPath)): Promise<HandAgent> {
    const url = `${client.url.replace('http', 'ws')}${agentConnectPath}`;
    const socket = new WebSocket(url, { headers, handshakeTimeout: patienceMs });
    const agent = new HandAgent(socket);
    await new Promise<void>((resolve, reject) => {
      socket.on('open', resolve);
      socket.on('error', reject);
      socket.on('unexpected-response', (_request, response) => {
        let text = '';
        response.on('data', (chunk) => {
          text += String(chunk);
        });
        response.on('end', () => reject(new UpgradeRefused(response.statusCode ?? 0, text)));
      });
    });
    return agent;
  }

  send(message: AgentMessage): void {
    this.#socket.send(JSON.stringify(message));
  }

  sendText(text: string): void {
    this.#socket.send(text);
  }

  hello(options: Partial<Extract<AgentMessage, { type: 'hello' }>> & { inventory?: Inventory } = {}): void {
    this.send({
      ...{ type: 'hello', protocol: protocolVersion, agent_version: 'hand', session_uuid: newId() },
      ...{ inventory: anInventory(), containers: [] },
      ...options,
    });
  }

  /** Connected, but without a heartbeat from now on. */
  fallSilent(): void {
    clearInterval(this.#beat);
  }

  /** Hello, and what the server says to it up to the full list. */
  async greet(options: Parameters<HandAgent['hello']>[0] = {}): Promise<MessageOf<'desired'>> {
    this.hello(options);
    await this.next('welcome');
    this.#beat = setInterval(() => this.send({ type: 'heartbeat' }), heartbeatMs);
    return this.next('desired');
  }

  /** Sends the report and waits until it is stored, or refused for good. */
  async report(run: { run_uuid: string; attempt: number }, event: RunEvent): Promise<void> {
    this.#sequence += 1;
    const sequence = this.#sequence;
    const { run_uuid, attempt } = run;
    this.send({ type: 'report', sequence, run_uuid, attempt, event });
    const ack = await this.next('report_ack');
    assert.equal(ack.sequence, sequence);
  }

  /** The next message of that type; others before it are passed over. */
  async next<T extends ServerMessage['type']>(type: T, limitMs = patienceMs): Promise<MessageOf<T>> {
    const giveUpAt = performance.now() + limitMs;
    for (;;) {
      const message = this.received[this.#read];
      if (message !== undefined) {
        this.#read += 1;
        if (message.type === type) return message as MessageOf<T>;
        continue;
      }
      const leftMs = giveUpAt - performance.now();
      assert.ok(leftMs > 0, `no ${type} within ${limitMs} ms; came: ${this.received.map((it) => it.type)}`);
      await this.#arrival(leftMs);
    }
  }

  #arrival(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  close(): void {
    this.#socket.close();
  }
}

export class UpgradeRefused extends Error {
  override name = 'UpgradeRefused';
  readonly status: number;
  readonly code: string;

  constructor(status: number, text: string) {
    super(`the upgrade was answered ${status}: ${text}`);
    this.status = status;
    this.code = (JSON.parse(text) as { error: { code: string } }).error.code;
  }
}
