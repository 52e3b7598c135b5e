// A client that signs what it sends, byte for byte, and checks every answer against the OpenAPI document.
import assert from 'node:assert/strict';
import { createHmac, hash, randomBytes } from 'node:crypto';
import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { preferredCanonical } from '../../src/domain/canonical-request.ts';
import type { ErrorBody, FieldIssue } from '../../src/protocol/error.ts';
import type { Job } from '../../src/protocol/job.ts';
import type { JobRun, JobRunDetail, JobRunLogs } from '../../src/protocol/job-run.ts';
import type { CancelJobsBody, JobStops } from '../../src/protocol/job-stop.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import type { ResponseCheck } from './openapi-check.ts';

export interface KeyPair {
  publicKey: string;
  secretKey: string;
}

export interface SendOptions {
  /** Sent as JSON. */
  body?: unknown;
  /** Sent as it is, in the place of `body`. */
  raw?: Buffer | string;
  /** Beside or in the place of the usual ones; undefined leaves one out. */
  headers?: Record<string, string | undefined>;
  nonce?: string;
  timeMs?: number;
  isSigned?: boolean;
}

export interface Answer<T> {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  /** Checked against the document where the route is in it. */
  body: T;
}

export type Refusal = ErrorBody['error'] & { status: number; headers: IncomingHttpHeaders };

const hashes = { sha256Hex: (content: Uint8Array | string) => hash('sha256', content, 'hex') };
const answerLimitMs = 30_000;

export class Client {
  readonly url: string;
  readonly key: KeyPair;
  readonly #check: ResponseCheck;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64 });

  constructor(options: { url: string; key: KeyPair; check: ResponseCheck }) {
    this.url = options.url;
    this.key = options.key;
    this.#check = options.check;
  }

  /** Whatever the answer is; `path` includes the query. */
  async send<T = unknown>(method: string, path: string, options: SendOptions = {}): Promise<Answer<T>> {
    const raw = Buffer.from(options.raw ?? (options.body === undefined ? '' : JSON.stringify(options.body)));
    const signed = options.isSigned === false ? {} : this.sign(method, path, { ...options, raw });
    const type = raw.length > 0 ? { 'Content-Type': 'application/json' } : {};
    const headers = { ...type, 'Content-Length': String(raw.length), ...signed, ...options.headers };
    const answer = await this.#exchange({ method, path, raw, headers });
    const isJson = /json/.test(answer.headers['content-type'] ?? '') && answer.text !== '';
    const body = isJson ? JSON.parse(answer.text) : answer.text;
    this.#check({ method, path, status: answer.status, body });
    return { ...answer, body: body as T };
  }

  sign(
    method: string,
    path: string,
    { raw = '', nonce = randomBytes(16).toString('hex'), timeMs = Date.now() }: SendOptions = {},
  ): Record<string, string> {
    const canonical = this.canonical(method, path, { raw, nonce, timeMs });
    return {
      'X-API-Key': this.key.publicKey,
      'X-Time': String(timeMs),
      'X-Nonce': nonce,
      'X-Signature': this.hmac(canonical),
    };
  }

  hmac(canonical: string): string {
    return createHmac('sha256', this.key.secretKey).update(canonical).digest('hex');
  }

  canonical(
    method: string,
    path: string,
    { raw, nonce, timeMs }: { raw: Buffer | string; nonce: string; timeMs: number },
  ): string {
    const at = path.indexOf('?');
    const pathname = at < 0 ? path : path.slice(0, at);
    const rawQuery = at < 0 ? '' : path.slice(at + 1);
    const parts = {
      publicKey: this.key.publicKey,
      timeMs: String(timeMs),
      nonce,
      method,
      pathname,
      rawQuery,
    };
    return preferredCanonical({ ...parts, body: Buffer.from(raw), parsedBody: undefined }, hashes);
  }

  #exchange(sent: {
    method: string;
    path: string;
    raw: Buffer;
    headers: Record<string, string | undefined>;
  }): Promise<{ status: number; headers: IncomingHttpHeaders; text: string }> {
    const { hostname, port } = new URL(this.url);
    const headers = Object.fromEntries(
      Object.entries(sent.headers).filter(([, value]) => value !== undefined),
    );
    return new Promise((resolve, reject) => {
      const request = httpRequest(
        { hostname, port, method: sent.method, path: sent.path, headers, agent: this.#agent },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () =>
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              text: Buffer.concat(chunks).toString('utf8'),
            }),
          );
        },
      );
      request.setTimeout(answerLimitMs, () => request.destroy(new Error(`no answer to ${sent.path}`)));
      request.on('error', reject);
      request.end(sent.raw);
    });
  }

  /** The answer's body; fails when it is an error. */
  async ask<T>(method: string, path: string, options: SendOptions = {}): Promise<T> {
    const answer = await this.send<T>(method, path, options);
    assert.ok(answer.status < 300, `${method} ${path} was answered ${answer.status}: ${answer.text}`);
    return answer.body;
  }

  /** The error; fails when the request was accepted. */
  async refusal(method: string, path: string, options: SendOptions = {}): Promise<Refusal> {
    const { status, headers, body, text } = await this.send<Partial<ErrorBody>>(method, path, options);
    assert.ok(status >= 400 && body.error, `${method} ${path} was accepted with ${status}: ${text}`);
    return { ...body.error, status, headers };
  }

  /** The wrong fields of a refused request, by path. */
  async issues(method: string, path: string, options: SendOptions = {}): Promise<Map<string, FieldIssue>> {
    const refusal = await this.refusal(method, path, options);
    assert.equal(refusal.code, 'validation_failed', refusal.message);
    return new Map((refusal.details as FieldIssue[]).map((issue) => [issue.path, issue]));
  }

  createJob(body: object, headers: Record<string, string> = {}): Promise<Job> {
    return this.ask('POST', '/v1/jobs', { body, headers });
  }

  getJob(uuid: string): Promise<Job> {
    return this.ask('GET', `/v1/jobs/${uuid}`);
  }

  listJobs(query: Record<string, string | number> = {}): Promise<ListEnvelope<Job>> {
    return this.ask('GET', `/v1/jobs${queryOf(query)}`);
  }

  stopJob(uuid: string, body?: object): Promise<Job> {
    return this.ask('PUT', `/v1/jobs/${uuid}/cancel`, body === undefined ? {} : { body });
  }

  stopJobs(body: CancelJobsBody): Promise<JobStops> {
    return this.ask('POST', '/v1/jobs/cancel', { body });
  }

  listRuns(query: Record<string, string | number> = {}): Promise<ListEnvelope<JobRun>> {
    return this.ask('GET', `/v1/job-runs${queryOf(query)}`);
  }

  getRun(uuid: string): Promise<JobRunDetail> {
    return this.ask('GET', `/v1/job-runs/${uuid}`);
  }

  getLogs(uuid: string, query: Record<string, string | number> = {}): Promise<JobRunLogs> {
    return this.ask('GET', `/v1/job-runs/${uuid}/logs${queryOf(query)}`);
  }
}

export function queryOf(query: Record<string, string | number>): string {
  const text = new URLSearchParams(
    Object.entries(query).map(([name, value]): [string, string] => [name, String(value)]),
  ).toString();
  return text === '' ? '' : `?${text}`;
}
