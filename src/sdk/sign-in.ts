// Sessions of the client: sign-in calls that nobody signs, and access tokens that are renewed before they end.
import type { SessionTokens } from '../protocol/sign-in.ts';
import { targetOf } from './call.ts';
import { ApiError, ConnectionError } from './errors.ts';
import { createHttpTransport } from './http-transport.ts';
import type { SigningKey } from './sign.ts';

/** An access token that is good for the next request. */
export type TokenSource = () => Promise<string>;

export type SignInServer = { url: string; ca?: string | Buffer | undefined; timeoutMs?: number };

/** Renewed so long before its end, for clocks that differ and requests that take long. */
const marginMs = 60_000;
const defaultTimeoutMs = 30_000;

/** A lost answer loses the session: the old refresh token is used up then. Sign in again. */
export function refreshSession(server: SignInServer, refreshToken: string): Promise<SessionTokens> {
  return post<SessionTokens>(server, '/v1/sign-in/refresh', { refresh_token: refreshToken });
}

/** Ends the session with every token of it. */
export async function endSession(server: SignInServer, refreshToken: string): Promise<void> {
  await post(server, '/v1/sign-out', { refresh_token: refreshToken });
}

/** For the code that the browser brought back from the provider. */
export function sessionForCode(
  server: SignInServer,
  { code, verifier }: { code: string; verifier: string },
): Promise<SessionTokens> {
  return post<SessionTokens>(server, '/v1/sign-in/oidc/token', { code, code_verifier: verifier });
}

/** For this program alone: two that renew by the same refresh token end the session. */
export function renewingTokens(
  server: SignInServer,
  options: {
    tokens: SessionTokens;
    /** Told of new ones before they are used. */
    store?: (tokens: SessionTokens) => Promise<void>;
    nowMs?: () => number;
  },
): TokenSource {
  const { store = async () => {}, nowMs = Date.now } = options;
  let current = Promise.resolve(options.tokens);
  const renew = async (tokens: SessionTokens) => {
    const renewed = await refreshSession(server, tokens.refresh_token);
    await store(renewed);
    return renewed;
  };
  return async () => {
    const seen = current;
    const tokens = await seen;
    // Whoever comes meanwhile waits for the same renewal; one that failed is tried again by the next.
    if (seen === current && !isFresh(tokens, nowMs())) {
      current = renew(tokens);
      current.catch(() => {
        current = seen;
      });
    }
    return (await current).access_token;
  };
}

export function isFresh(tokens: Pick<SessionTokens, 'expires_at'>, nowMs: number): boolean {
  return Date.parse(tokens.expires_at) - nowMs > marginMs;
}

/** What signs requests with the token: its claim hmac_key, in the place of both keys. */
export function signingKeyOf(token: string): SigningKey {
  const [, payload = ''] = token.split('.');
  try {
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as { hmac_key?: unknown };
    if (typeof claims.hmac_key === 'string')
      return { publicKey: claims.hmac_key, secretKey: claims.hmac_key, token };
  } catch (cause) {
    throw new Error('This is not an access token of Flotilla: sign in again.', { cause });
  }
  throw new Error('This access token has no hmac_key: sign in again.');
}

/** Tried once: what works once must not be sent twice. */
async function post<T>(server: SignInServer, path: string, content: object): Promise<T> {
  const transport = createHttpTransport({ ca: server.ca });
  const base = new URL(server.url);
  try {
    const response = await transport.send({
      ...{ method: 'POST', url: targetOf(base, { path }), body: JSON.stringify(content) },
      headers: { Accept: 'application/json', 'Content-Type': 'application/json' },
      timeoutMs: server.timeoutMs ?? defaultTimeoutMs,
    });
    if (response.status < 200 || response.status > 299) throw new ApiError(response);
    return JSON.parse(response.text) as T;
  } catch (error) {
    throw error instanceof ApiError ? error : new ConnectionError(base.origin, error);
  } finally {
    transport.close();
  }
}
