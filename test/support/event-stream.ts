// A client of server-sent events: opens a stream, signed or by ticket, and gives its messages one after the other.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import type { Client } from './client.ts';

export interface Message {
  id: string | null;
  event: string;
  // biome-ignore lint/suspicious/noExplicitAny: what the tests look into
  data: any;
}

const patienceMs = 10_000;

export class TestStream {
  readonly response: IncomingMessage;
  /** Messages that came and were not taken. */
  readonly messages: Message[] = [];
  lastId: string | null = null;
  #rest = '';
  isEnded = false;
  #wake: () => void = () => {};

  constructor(response: IncomingMessage) {
    this.response = response;
    response.setEncoding('utf8');
    response.on('data', (text: string) => this.#read(text));
    response.on('error', () => {});
    response.on('close', () => {
      this.isEnded = true;
      this.#wake();
    });
  }

  /** The next one of that kind, `message` for those of the stream itself; others before it are dropped. */
  async next(event = 'message'): Promise<Message> {
    const deadline = performance.now() + patienceMs;
    for (;;) {
      const message = this.messages.shift();
      if (message?.event === event) return message;
      if (message !== undefined) continue;
      assert.ok(!this.isEnded, `the stream ended without ${event}`);
      assert.ok(performance.now() < deadline, `no ${event} in time`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, 100);
      });
    }
  }

  async take(count: number): Promise<Message[]> {
    const taken: Message[] = [];
    while (taken.length < count) taken.push(await this.next());
    return taken;
  }

  close(): void {
    this.response.destroy();
  }

  #read(text: string): void {
    const blocks = (this.#rest + text).split('\n\n');
    this.#rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const fields = block.split('\n').map((line) => line.split(/: ?(.*)/s, 2) as [string, string]);
      const value = (name: string) => fields.find(([field]) => field === name)?.[1] ?? null;
      const [id, data] = [value('id'), value('data')];
      if (id !== null) this.lastId = id;
      if (data !== null)
        this.messages.push({ id, event: value('event') ?? 'message', data: JSON.parse(data) });
    }
    this.#wake();
  }
}

export async function openStream(
  client: Client,
  path: string,
  { lastId = null, isSigned = true }: { lastId?: string | null; isSigned?: boolean } = {},
): Promise<TestStream> {
  const response = await openResponse(client, path, { lastId, isSigned });
  assert.equal(response.statusCode, 200, `${path} was answered ${response.statusCode}`);
  return new TestStream(response);
}

export async function openResponse(
  client: Client,
  path: string,
  { lastId = null, isSigned = true }: { lastId?: string | null; isSigned?: boolean } = {},
): Promise<IncomingMessage> {
  const headers = {
    Accept: 'text/event-stream',
    ...(isSigned ? client.sign('GET', path) : {}),
    ...(lastId === null ? {} : { 'Last-Event-ID': lastId }),
  };
  const sent = request(new URL(path, client.url), { headers, agent: false });
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return response;
}
