// The OpenID Connect provider that people sign in with: where their browser goes, and who they are when it comes back.
import * as oidc from 'openid-client';
import type { IdentityMapping } from '../domain/identity-mapping.ts';
import { ApiError } from './errors.ts';

export interface OidcSettings {
  /** Its address, as its discovery document names it. */
  issuer: string;
  clientId: string;
  /** null: a public client, which PKCE alone protects. */
  clientSecret: string | null;
  /** Separated by blanks; with openid. */
  scope: string;
  mappings: readonly IdentityMapping[];
}

export interface OidcProvider {
  issuer: string;
  /** The address for the browser, and what must be kept until it comes back. */
  begin(options: { redirectUri: string; state: string }): Promise<{
    url: URL;
    secrets: { nonce: string; verifier: string };
  }>;
  /** The claims of whoever came back to `url`: checked by signature, issuer, audience, time, nonce and state. */
  finish(options: {
    url: URL;
    state: string;
    secrets: { nonce: string; verifier: string };
  }): Promise<Record<string, unknown> & { sub: string }>;
}

/** For each call to the provider. */
const timeoutSeconds = 10;
/** Its document may change; its keys are read again by themselves when a token names an unknown one. */
const discoveryMs = 3_600_000;

export function createOidcProvider(settings: OidcSettings, deps: { now: () => number }): OidcProvider {
  let known: { configuration: Promise<oidc.Configuration>; readAtMs: number } | undefined;
  const configuration = () => {
    if (known !== undefined && deps.now() - known.readAtMs < discoveryMs) return known.configuration;
    const own = { configuration: discover(settings), readAtMs: deps.now() };
    known = own;
    own.configuration.catch(() => {
      if (known === own) known = undefined;
    });
    return own.configuration;
  };
  return {
    issuer: settings.issuer,
    async begin({ redirectUri, state }) {
      const provider = await reach(settings, configuration);
      const secrets = { nonce: oidc.randomNonce(), verifier: oidc.randomPKCECodeVerifier() };
      const url = oidc.buildAuthorizationUrl(provider, {
        ...{ redirect_uri: redirectUri, scope: settings.scope, state, nonce: secrets.nonce },
        code_challenge: await oidc.calculatePKCECodeChallenge(secrets.verifier),
        code_challenge_method: 'S256',
      });
      return { url, secrets };
    },
    async finish({ url, state, secrets }) {
      const provider = await reach(settings, configuration);
      return reach(settings, async () => {
        const tokens = await oidc.authorizationCodeGrant(provider, url, {
          ...{ expectedState: state, expectedNonce: secrets.nonce },
          ...{ pkceCodeVerifier: secrets.verifier, idTokenExpected: true },
        });
        const claims = tokens.claims();
        if (claims === undefined) throw new Error('The provider sent no ID token.');
        return { ...(await userInfo(provider, tokens.access_token, claims, settings)), ...claims };
      });
    },
  };
}

async function discover({ issuer, clientId, clientSecret }: OidcSettings): Promise<oidc.Configuration> {
  const server = new URL(issuer);
  const isLoopback = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(server.hostname);
  const authentication = clientSecret === null ? oidc.None() : oidc.ClientSecretBasic(clientSecret);
  return oidc.discovery(server, clientId, clientSecret ?? {}, authentication, {
    timeout: timeoutSeconds,
    execute: [
      // Else the signature of the ID token is not looked at where TLS vouches for it already.
      oidc.enableNonRepudiationChecks,
      // A provider on this machine, for trying; any other must have TLS.
      ...(isLoopback && server.protocol === 'http:' ? [oidc.allowInsecureRequests] : []),
    ],
  });
}

/** Many providers put no more than the subject in the ID token: what a mapping asks for may be here alone. */
async function userInfo(
  provider: oidc.Configuration,
  accessToken: string,
  claims: { sub: string; [claim: string]: unknown },
  { mappings }: OidcSettings,
): Promise<Record<string, unknown>> {
  const isWhole = ['email', ...mappings.map(({ claim }) => claim)].every((claim) => claim in claims);
  if (isWhole || provider.serverMetadata().userinfo_endpoint === undefined) return {};
  return oidc.fetchUserInfo(provider, accessToken, claims.sub);
}

/** What the provider refuses is the person's 401; that it cannot be reached, or makes no sense, is a 503. */
async function reach<T>({ issuer }: OidcSettings, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (isRefusal(error)) {
      throw new ApiError('token_invalid', 'The provider did not sign you in; sign in again.', {
        details: { provider: codeOf(error) },
        cause: error,
      });
    }
    throw new ApiError(
      'unavailable',
      `The OpenID Connect provider at ${issuer} cannot be used right now; try again.`,
      { retryAfterSeconds: 10, cause: error },
    );
  }
}

/** Of this sign-in: the person said no, or what came back is not the answer to what was asked. */
function isRefusal(error: unknown): boolean {
  if (error instanceof oidc.AuthorizationResponseError) return true;
  if (error instanceof oidc.ResponseBodyError) return error.error === 'invalid_grant';
  return /^OAUTH_(INVALID_RESPONSE|JWT_\w+_FAILED)$/.test(codeOf(error));
}

function codeOf(error: unknown): string {
  if (error instanceof oidc.AuthorizationResponseError || error instanceof oidc.ResponseBodyError)
    return error.error.slice(0, 80);
  return error instanceof oidc.ClientError ? (error.code ?? '') : '';
}
