// From the options of a server to what signing in by OpenID Connect needs: the client secret is read from its file.
import { readFileSync } from 'node:fs';
import type { OidcSettings } from '../api/oidc.ts';
import type { OidcOptions } from '../cli/roles.ts';

export function oidcSettings(options: OidcOptions | null): OidcSettings | null {
  if (options === null) return null;
  const { clientSecretFile, ...settings } = options;
  return { ...settings, clientSecret: clientSecretFile === null ? null : readSecret(clientSecretFile) };
}

function readSecret(file: string): string {
  let secret: string;
  try {
    secret = readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw new Error(`Cannot read the client secret in ${file}; check --oidc-client-secret-file.`, { cause });
  }
  if (secret === '') throw new Error(`${file} is empty: it must hold the client secret of the provider.`);
  return secret;
}
