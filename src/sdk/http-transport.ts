// Sends one HTTP or HTTPS request over kept-alive connections, with a time limit for the whole exchange.
import http from 'node:http';
import https from 'node:https';

export type HttpRequest = {
  method: string;
  url: URL;
  headers: Record<string, string>;
  body: string | undefined;
  /** From the first byte sent to the last byte received. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
};

export type HttpResponse = { status: number; headers: http.IncomingHttpHeaders; text: string };

export type HttpTransport = {
  send: (request: HttpRequest) => Promise<HttpResponse>;
  /** Closes idle connections; they keep no process alive by themselves. */
  close: () => void;
};

/** `ca` (PEM) is trusted instead of the well-known authorities, for a server with a certificate of its own. */
export function createHttpTransport(options: { ca?: string | Buffer | undefined } = {}): HttpTransport {
  const plain = new http.Agent({ keepAlive: true });
  const secure = new https.Agent({
    keepAlive: true,
    ...(options.ca === undefined ? {} : { ca: options.ca }),
  });
  return {
    send: (request) => exchange(request, request.url.protocol === 'https:' ? secure : plain),
    close: () => {
      plain.destroy();
      secure.destroy();
    },
  };
}

async function exchange(request: HttpRequest, agent: http.Agent | https.Agent): Promise<HttpResponse> {
  const deadline = AbortSignal.timeout(request.timeoutMs);
  const signal = request.signal === undefined ? deadline : AbortSignal.any([deadline, request.signal]);
  try {
    const response = await responseTo(request, { agent, signal });
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk);
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      text: Buffer.concat(chunks).toString(),
    };
  } catch (error) {
    // Node reports every abort as one error; the signal knows whether the time was up or the caller gave up.
    throw signal.aborted ? signal.reason : error;
  }
}

function responseTo(
  request: HttpRequest,
  options: { agent: http.Agent | https.Agent; signal: AbortSignal },
): Promise<http.IncomingMessage> {
  const { method, url, body } = request;
  const length = body === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(body)) };
  const headers = { ...request.headers, ...length };
  const start = url.protocol === 'https:' ? https.request : http.request;
  return new Promise((resolve, reject) => {
    const outgoing = start(url, { method, headers, ...options }, resolve);
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}
