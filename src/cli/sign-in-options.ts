// Options of `server` and `up` for signing people in by an OpenID Connect provider.
import type { Command } from 'commander';
import { UsageError } from './errors.ts';
import type { Io } from './io.ts';
import { collect } from './options.ts';
import type { IdentityMapping, OidcOptions } from './roles.ts';

export interface SignInFlags {
  publicUrl?: string;
  oidcIssuer?: string;
  oidcClientId?: string;
  oidcClientSecretFile?: string;
  oidcScope?: string;
  oidcMap?: string[];
}

const defaultScope = 'openid email profile';
const presets = ['consumer', 'operator', 'admin', 'cluster-admin'];

export function withSignInOptions(command: Command): Command {
  return command
    .optionsGroup('Sign-in by OpenID Connect:')
    .option('--oidc-issuer <url>', 'the provider, as its discovery document names it (FLOTILLA_OIDC_ISSUER)')
    .option('--oidc-client-id <id>', 'what this server is called there (FLOTILLA_OIDC_CLIENT_ID)')
    .option(
      '--oidc-client-secret-file <file>',
      'its secret (FLOTILLA_OIDC_CLIENT_SECRET_FILE; without: a public client)',
    )
    .option('--oidc-scope <words>', `what is asked for (FLOTILLA_OIDC_SCOPE; default "${defaultScope}")`)
    .option(
      '--oidc-map <claim=value:account:preset>',
      `whom it lets in, as what (repeatable, the first that fits; FLOTILLA_OIDC_MAP, separated by ;). Presets: ${presets.join(', ')}`,
      collect,
    )
    .option(
      '--public-url <url>',
      'where browsers reach the servers, as the provider knows it (FLOTILLA_PUBLIC_URL; default: where it listens)',
    );
}

export function signInOptions(
  { env }: Pick<Io, 'env'>,
  flags: SignInFlags,
): { oidc: OidcOptions | null; publicUrl: string | null } {
  const publicUrl = flags.publicUrl ?? (env.FLOTILLA_PUBLIC_URL || null);
  const issuer = flags.oidcIssuer ?? (env.FLOTILLA_OIDC_ISSUER || null);
  const clientId = flags.oidcClientId ?? (env.FLOTILLA_OIDC_CLIENT_ID || null);
  const place = { publicUrl: publicUrl === null ? null : originOf('--public-url', publicUrl) };
  if (issuer === null && clientId === null) return { oidc: null, ...place };
  if (issuer === null || clientId === null)
    throw new UsageError('Give both --oidc-issuer and --oidc-client-id, or neither.');
  if (!URL.canParse(issuer))
    throw new UsageError(`--oidc-issuer is "${issuer}": it must be a URL such as https://login.example.`);
  const mapped =
    flags.oidcMap ?? (env.FLOTILLA_OIDC_MAP ?? '').split(';').filter((text) => text.trim() !== '');
  const oidc = {
    ...{ issuer, clientId, mappings: mapped.map((text) => readMapping(text.trim())) },
    clientSecretFile: flags.oidcClientSecretFile ?? (env.FLOTILLA_OIDC_CLIENT_SECRET_FILE || null),
    scope: flags.oidcScope ?? (env.FLOTILLA_OIDC_SCOPE || defaultScope),
  };
  return { oidc, ...place };
}

/** The value may hold colons, as addresses do. */
function readMapping(text: string): IdentityMapping {
  const [, claim, value, account, preset] = /^([^=]+)=(.+):([^:]+):([^:]+)$/.exec(text) ?? [];
  if (claim && value && account && preset && presets.includes(preset)) {
    return { claim, value, account, preset };
  }
  throw new UsageError(
    `--oidc-map is "${text}": write CLAIM=VALUE:ACCOUNT:PRESET, such as groups=ml:research:consumer; presets are ${presets.join(', ')}.`,
  );
}

function originOf(option: string, text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url.origin;
  throw new UsageError(`${option} is "${text}": it must be a URL such as https://flotilla.example.`);
}
