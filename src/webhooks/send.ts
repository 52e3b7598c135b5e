// One attempt of a delivery: a signed POST to an address that was checked when it was connected to.
import { createHmac } from 'node:crypto';
import { lookup as lookupDns } from 'node:dns';
import http from 'node:http';
import https from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import type { AttemptResult } from '../db/webhook-outbox.ts';
import { hostOf, type TargetRules } from './target.ts';

export interface Delivery {
  id: string;
  url: string;
  kind: string;
  body: string;
  secret: string;
  attempt: number;
}

export interface SendOptions {
  rules: TargetRules;
  /** Epoch milliseconds. */
  nowMs: number;
  lookup?: LookupFunction;
}

/** For the whole attempt, name look-up included. */
const timeoutMs = 10_000;
/** Of the answer; what is longer is not read. */
const maxAnswerBytes = 16 * 1024;
const excerptBytes = 512;

/** Delivered by a status of 2xx. Redirects are not followed. */
export async function sendDelivery(delivery: Delivery, options: SendOptions): Promise<AttemptResult> {
  try {
    const { status, text } = await post(delivery, options);
    const isDelivered = status >= 200 && status < 300;
    return {
      responseStatus: status,
      responseExcerpt: text,
      error: isDelivered
        ? null
        : `The receiver answered ${status}${status >= 300 && status < 400 ? ', and redirects are not followed' : ''}.`,
    };
  } catch (error) {
    return { responseStatus: null, responseExcerpt: null, error: sentenceOf(error) };
  }
}

/** `t=<seconds>,v1=<hex of HMAC-SHA256 over "<seconds>.<body>">`. */
export function signatureOf(secret: string, { body, seconds }: { body: string; seconds: number }): string {
  const mac = createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex');
  return `t=${seconds},v1=${mac}`;
}

function post(
  { id, url: address, kind, body, secret, attempt }: Delivery,
  { rules, nowMs, lookup = lookupDns as LookupFunction }: SendOptions,
): Promise<{ status: number; text: string }> {
  // The rules may have changed since it was made.
  const problem = rules.problemOf(address);
  if (problem !== null) return Promise.reject(new Error(`The address is not allowed: expected ${problem}`));
  const url = new URL(address);
  const payload = Buffer.from(body);
  const request = (url.protocol === 'https:' ? https : http).request(url, {
    method: 'POST',
    agent: false,
    signal: AbortSignal.timeout(timeoutMs),
    lookup: checkedLookup(url, { rules, lookup }),
    headers: {
      'content-type': 'application/json',
      'content-length': String(payload.length),
      'user-agent': 'Flotilla-Webhooks',
      'flotilla-delivery': id,
      'flotilla-event': kind,
      'flotilla-attempt': String(attempt),
      'flotilla-signature': signatureOf(secret, { body, seconds: Math.floor(nowMs / 1000) }),
    },
  });
  return new Promise((resolve, reject) => {
    request.on('error', reject);
    request.on('response', (response) => {
      readStart(response).then((text) => {
        request.destroy();
        resolve({ status: response.statusCode ?? 0, text });
      }, reject);
    });
    request.end(payload);
  });
}

/** The socket connects to exactly the addresses that were looked at here: a name cannot point elsewhere a moment later. */
function checkedLookup(
  url: URL,
  { rules, lookup }: { rules: TargetRules; lookup: LookupFunction },
): LookupFunction {
  return (host, options, done) => {
    lookup(host, { ...options, all: true }, (error, found) => {
      if (error) return done(error, '', 0);
      const addresses = Array.isArray(found) ? found : [{ address: found, family: isIP(found) }];
      const refused = addresses.find(({ address }) => !rules.isAllowed(address, url));
      const [first] = addresses;
      if (refused !== undefined || first === undefined) {
        const why = `${hostOf(url)} is at ${refused?.address ?? 'no address'}, which is not public`;
        return done(new Error(`${why}: the operator can allow it with --allow-webhook`), '', 0);
      }
      if (options.all) done(null, addresses);
      else done(null, first.address, first.family);
    });
  };
}

async function readStart(response: http.IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    parts.push(part);
    bytes += part.length;
    if (bytes >= maxAnswerBytes) break;
  }
  // PostgreSQL stores no NUL.
  return Buffer.concat(parts).subarray(0, excerptBytes).toString('utf8').replaceAll('\0', '');
}

function sentenceOf(error: unknown): string {
  if (error instanceof Error && error.name === 'TimeoutError')
    return `No answer within ${timeoutMs / 1000} s.`;
  if (error instanceof Error && error.cause instanceof Error && error.cause.name === 'TimeoutError')
    return `No answer within ${timeoutMs / 1000} s.`;
  const { message, code } = error as { message?: string; code?: string };
  return (message || code || 'The connection failed.').slice(0, 500);
}
