// A real OpenID Connect provider on loopback (npm oidc-provider) with people of its own, and a browser of few words.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Provider } from 'oidc-provider';

export interface TestProvider {
  issuer: string;
  clientId: string;
  clientSecret: string;
  stop(): Promise<void>;
}

export type Person = { sub: string; email?: string; email_verified?: boolean; groups?: string[] };

const [clientId, clientSecret] = ['flotilla-test', 'a secret between the two'];

/** `login` says who is at the browser; null: that person says no. */
export async function startOpenIdProvider(options: {
  people: readonly Person[];
  redirectUri: string;
  login: () => string | null;
}): Promise<TestProvider> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const provider = new Provider(issuer, {
    clients: [{ client_id: clientId, client_secret: clientSecret, redirect_uris: [options.redirectUri] }],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
    scopes: ['openid', 'email', 'groups'],
    features: { devInteractions: { enabled: false } },
    interactions: { url: () => '/interaction' },
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'test' }] },
    cookies: { keys: ['of this test'] },
    ttl: {
      AccessToken: 600,
      AuthorizationCode: 60,
      IdToken: 600,
      Interaction: 600,
      Session: 600,
      Grant: 600,
    },
    findAccount: (_context: unknown, id: string) => ({
      accountId: id,
      claims: async () => options.people.find(({ sub }) => sub === id) ?? { sub: id },
    }),
  });
  const serve = provider.callback();
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const isInteraction = request.url?.startsWith('/interaction') ?? false;
    (isInteraction
      ? interact(provider, options.login, { request, response })
      : serve(request, response)
    ).catch((error) => response.destroy(error));
  });
  return { issuer, clientId, clientSecret, stop: () => stop(server) };
}

/** Logs in whoever is at the browser, and agrees to what the client asks for. */
async function interact(
  provider: Provider,
  login: () => string | null,
  { request, response }: { request: IncomingMessage; response: ServerResponse },
): Promise<void> {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  const person = login();
  if (person === null) {
    const refusal = { error: 'access_denied', error_description: 'The person said no.' };
    return provider.interactionFinished(request, response, refusal);
  }
  if (prompt.name === 'login')
    return provider.interactionFinished(request, response, { login: { accountId: person } });
  const grant = new provider.Grant({
    accountId: session?.accountId ?? person,
    clientId: String(params.client_id),
  });
  grant.addOIDCScope(String(params.scope));
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

async function stop(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

/** Follows redirects with cookies, as far as `isEnd` says, and answers the last address it was sent to. */
export class TestBrowser {
  readonly #cookies = new Map<string, string>();

  async follow(start: string, isEnd: (url: URL) => boolean): Promise<URL> {
    let url = new URL(start);
    for (let hops = 0; hops < 20; hops += 1) {
      const { status, location, text } = await this.visit(url);
      assert.ok(location !== null, `${url.pathname} answered ${status}: ${text.slice(0, 300)}`);
      url = new URL(location, url);
      if (isEnd(url)) return url;
    }
    assert.fail(`too many redirects, the last to ${url.href}`);
  }

  async visit(url: URL): Promise<{ status: number; location: string | null; text: string }> {
    const jar = `${url.host} `;
    const cookies = [...this.#cookies].filter(([name]) => name.startsWith(jar));
    const cookie = cookies.map(([name, value]) => `${name.slice(jar.length)}=${value}`).join('; ');
    const response = await fetch(url, { redirect: 'manual', headers: { cookie } });
    for (const text of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(text) ?? [];
      if (name !== undefined) this.#cookies.set(jar + name, value ?? '');
    }
    const text = await response.text();
    return { status: response.status, location: response.headers.get('location'), text };
  }
}
