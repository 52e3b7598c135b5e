// Where the browser comes back to after signing in: one answer on a port of this machine, for whoever knows the state.
import { createHash, randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { UsageError } from './errors.ts';

export interface BrowserSignIn {
  /** What the browser is to open. */
  url: string;
  /** The code, once the browser came back; rejects when it brings a refusal, or when `signal` aborts. */
  code: Promise<string>;
  /** What the code's challenge was made of (RFC 7636). */
  verifier: string;
  close(): void;
}

export async function beginBrowserSignIn(serverUrl: string, signal: AbortSignal): Promise<BrowserSignIn> {
  const [state, verifier] = [randomBytes(32).toString('base64url'), randomBytes(32).toString('base64url')];
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const code = new Promise<string>((resolve, reject) => {
    const giveUp = () => reject(new UsageError('Nobody signed in; run "flotilla login" again.'));
    if (signal.aborted) giveUp();
    signal.addEventListener('abort', giveUp, { once: true });
    answerBrowser(server, { state, resolve, reject });
  });
  // Whoever awaits it hears of a refusal; a browser that is quicker than that is no crash.
  code.catch(() => {});
  const query = new URLSearchParams({
    redirect_uri: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    state,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
  });
  return {
    url: `${serverUrl.replace(/\/$/, '')}/v1/sign-in/oidc?${query}`,
    ...{ code, verifier },
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** What does not know the state is not the browser we wait for. */
function answerBrowser(
  server: Server,
  wait: { state: string; resolve: (code: string) => void; reject: (error: Error) => void },
): void {
  server.on('request', (request, response) => {
    const url = new URL(request.url ?? '/', 'http://127.0.0.1');
    const say = (status: number, text: string) =>
      response
        .writeHead(status, { 'content-type': 'text/plain; charset=utf-8', connection: 'close' })
        .end(`${text}\n`);
    if (url.pathname !== '/' || url.searchParams.get('state') !== wait.state)
      return void say(404, 'There is nothing here.');
    const code = url.searchParams.get('code');
    const refusal = url.searchParams.get('error_description') ?? 'the server sent no code';
    if (code === null) say(200, `You are not signed in: ${refusal}`);
    else say(200, 'You are signed in. Close this page and go back to the terminal.');
    response.once('close', () => {
      if (code === null) wait.reject(new UsageError(`You are not signed in: ${refusal}`));
      else wait.resolve(code);
    });
  });
}
