// One HTTP or HTTPS exchange whose body, either way, is too large for memory.
import http from 'node:http';
import https from 'node:https';
import type { Readable } from 'node:stream';

export type StreamRequest = {
  method: string;
  url: URL;
  headers: Record<string, string>;
  body?: Readable | undefined;
  /** Without a byte in either direction. */
  idleMs: number;
  /** PEM, as of the client. */
  ca?: string | Buffer | undefined;
  signal?: AbortSignal | undefined;
};

/** The answer as soon as its headers are there; its connection is used for nothing else. */
export function exchangeStream(request: StreamRequest): Promise<http.IncomingMessage> {
  const { method, url, headers, body, idleMs, ca, signal } = request;
  const options = {
    method,
    headers,
    agent: false,
    ...(signal === undefined ? {} : { signal }),
    ...(ca === undefined ? {} : { ca }),
  };
  return new Promise((resolve, reject) => {
    const outgoing = url.protocol === 'https:' ? https.request(url, options) : http.request(url, options);
    outgoing.setTimeout(idleMs, () =>
      outgoing.destroy(Object.assign(new Error('no answer in time'), { code: 'TIMEOUT' })),
    );
    outgoing.on('response', (response) => {
      // Refused before everything was sent: the rest is not wanted.
      body?.unpipe(outgoing);
      resolve(response);
    });
    outgoing.on('error', reject);
    if (body === undefined) {
      outgoing.end();
      return;
    }
    body.on('error', (error) => outgoing.destroy(error));
    body.pipe(outgoing);
  });
}
