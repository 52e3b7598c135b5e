// The load generator: many clients on plain sockets, one request each at a time, as cheap as a client can be.
import { connect, type Socket } from 'node:net';
import { type SigningKey, signRequest } from '../../src/sdk/sign.ts';
import { serveWorker } from '../support/worker.ts';

export interface LoadPlan {
  url: string;
  /** null: unsigned, for a floor. */
  key: SigningKey | null;
  method: 'GET' | 'POST' | 'PUT';
  /** Taken in turn; one path for all requests of a POST. */
  paths: string[];
  body: string | null;
  clients: number;
  /** Ends after so long, or after so many requests. */
  until: { durationMs: number } | { count: number };
  /** Requests begun per second over all clients; absent: as fast as answers come. */
  ratePerSecond?: number;
  /** Signed before the clock starts, so that a signed and an unsigned client cost the same. */
  presignCount: number;
}

export interface LoadResult {
  count: number;
  elapsedMs: number;
  latenciesMs: number[];
  /** By status, of answers other than 2xx. */
  failures: Record<string, number>;
  /** The uuid of every 2xx answer, with the time it arrived in nanoseconds of the machine's monotonic clock. */
  acknowledged: { uuid: string; atNs: bigint }[];
}

async function run(plan: LoadPlan): Promise<LoadResult> {
  const { hostname, port } = new URL(plan.url);
  const sockets = await Promise.all(Array.from({ length: plan.clients }, () => dial(hostname, Number(port))));
  const requests = new Requests(plan, `${hostname}:${port}`);
  const result: LoadResult = { count: 0, elapsedMs: 0, latenciesMs: [], failures: {}, acknowledged: [] };
  const pace = new Pace(plan);
  try {
    pace.start();
    await Promise.all(
      sockets.map((socket) => drive(socket, { requests, pace, result, wantsIds: plan.method === 'POST' })),
    );
    result.elapsedMs = pace.elapsedMs();
  } finally {
    for (const socket of sockets) socket.destroy();
  }
  return result;
}

function dial(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true });
    socket.once('error', reject);
    socket.once('connect', () => resolve(socket));
  });
}

/** Requests as they go over the wire. */
class Requests {
  readonly #plan: LoadPlan;
  readonly #host: string;
  readonly #ready: string[];
  #next = 0;

  constructor(plan: LoadPlan, host: string) {
    this.#plan = plan;
    this.#host = host;
    this.#ready = Array.from({ length: plan.presignCount }, (_, index) => this.#make(index));
  }

  take(): string {
    const index = this.#next++;
    return this.#ready[index] ?? this.#make(index);
  }

  #make(index: number): string {
    const { method, paths, body, key } = this.#plan;
    const path = paths[index % paths.length] ?? '/';
    const signature = key === null ? {} : signRequest({ key, method, path, body: body ?? undefined });
    const headers = Object.entries(signature).map(([name, value]) => `${name}: ${value}\r\n`);
    const content =
      body === null ? '' : `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`;
    return `${method} ${path} HTTP/1.1\r\nHost: ${this.#host}\r\n${headers.join('')}${content}\r\n${body ?? ''}`;
  }
}

/** Says when the next request begins, and when it is over. */
class Pace {
  readonly #plan: LoadPlan;
  #startedAt = 0;
  #begun = 0;

  constructor(plan: LoadPlan) {
    this.#plan = plan;
  }

  start(): void {
    this.#startedAt = performance.now();
  }

  elapsedMs(): number {
    return performance.now() - this.#startedAt;
  }

  /** False when the run is over; else after the request's turn has come. */
  async next(): Promise<boolean> {
    const { until, ratePerSecond } = this.#plan;
    if ('count' in until ? this.#begun >= until.count : this.elapsedMs() >= until.durationMs) return false;
    const turn = this.#begun++;
    if (ratePerSecond === undefined) return true;
    const waitMs = (turn / ratePerSecond) * 1000 - this.elapsedMs();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    return true;
  }
}

interface Drive {
  requests: Requests;
  pace: Pace;
  result: LoadResult;
  wantsIds: boolean;
}

async function drive(socket: Socket, { requests, pace, result, wantsIds }: Drive): Promise<void> {
  const answers = new Answers(socket);
  while (await pace.next()) {
    const request = requests.take();
    const sentAt = performance.now();
    socket.write(request, 'latin1');
    const answer = await answers.next();
    const status = answer.slice(9, 12);
    result.latenciesMs.push(performance.now() - sentAt);
    if (status.startsWith('2')) {
      result.count += 1;
      if (wantsIds) result.acknowledged.push({ uuid: uuidIn(answer), atNs: process.hrtime.bigint() });
    } else {
      result.failures[status] = (result.failures[status] ?? 0) + 1;
    }
  }
}

const uuidMark = '"uuid":"';

function uuidIn(answer: string): string {
  const at = answer.indexOf(uuidMark) + uuidMark.length;
  return answer.slice(at, at + 36);
}

/** Cuts the socket's bytes into answers by their Content-Length. */
class Answers {
  #text = '';
  #resolve: ((answer: string) => void) | undefined;
  #reject: ((error: Error) => void) | undefined;

  constructor(socket: Socket) {
    socket.setEncoding('latin1');
    socket.on('data', (chunk) => this.#push(String(chunk)));
    socket.on('error', (error) => this.#reject?.(error));
    socket.on('close', () => this.#reject?.(new Error('The server closed the connection.')));
  }

  next(): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  #push(chunk: string): void {
    this.#text = this.#text === '' ? chunk : this.#text + chunk;
    const headEnd = this.#text.indexOf('\r\n\r\n');
    if (headEnd < 0) return;
    const length = /content-length: (\d+)/i.exec(this.#text.slice(0, headEnd))?.[1];
    if (length === undefined)
      throw new Error(`An answer without Content-Length: ${this.#text.slice(0, 200)}`);
    if (this.#text.length < headEnd + 4 + Number(length)) return;
    const answer = this.#text;
    this.#text = '';
    this.#resolve?.(answer);
  }
}

const api = { run };
export type LoadApi = typeof api;
serveWorker(api);
