// Sign-ins by way of a provider: the browser on its way there and back, and the one-time code that its client changes.
import { createHash } from 'node:crypto';
import type { Sql } from './database.ts';
import { type Identity, type IdentityRow, toIdentity } from './identities.ts';
import type { Vault } from './vault.ts';

export interface SignInAttempt {
  /** Nonce of the ID token and verifier of the code, both ours towards the provider. */
  secrets: { nonce: string; verifier: string };
  /** Where the browser goes at the end, and what it takes there. */
  redirectUri: string;
  clientState: string;
  codeChallenge: string;
}

/** `state` is for the provider, `browser` for the cookie; both are kept as hashes. */
export async function createSignInAttempt(
  sql: Sql,
  vault: Vault,
  attempt: SignInAttempt & { state: string; browser: string; lifeMs: number },
): Promise<void> {
  await sql.query('delete from sign_in_attempts where expires_at < flotilla_now()');
  await sql.query(
    `insert into sign_in_attempts
       (state_hash, browser_hash, secrets_sealed, redirect_uri, client_state, code_challenge, expires_at)
     values ($1, $2, $3, $4, $5, $6, flotilla_now() + $7 * interval '1 millisecond')`,
    [
      hashOf(attempt.state),
      hashOf(attempt.browser),
      vault.seal(JSON.stringify(attempt.secrets), ownerOf(attempt.state)),
      ...[attempt.redirectUri, attempt.clientState, attempt.codeChallenge, attempt.lifeMs],
    ],
  );
}

/** The attempt, the first time its state comes back, in time and in the same browser. */
export async function takeSignInAttempt(
  sql: Sql,
  vault: Vault,
  { state, browser }: { state: string; browser: string },
): Promise<SignInAttempt | null> {
  const [row] = await sql.query<{
    secrets_sealed: Buffer;
    redirect_uri: string;
    client_state: string;
    code_challenge: string;
  }>(
    `delete from sign_in_attempts where state_hash = $1 and browser_hash = $2 and expires_at >= flotilla_now()
     returning secrets_sealed, redirect_uri, client_state, code_challenge`,
    [hashOf(state), hashOf(browser)],
  );
  if (row === undefined) return null;
  return {
    secrets: JSON.parse(vault.open(row.secrets_sealed, ownerOf(state))) as SignInAttempt['secrets'],
    redirectUri: row.redirect_uri,
    clientState: row.client_state,
    codeChallenge: row.code_challenge,
  };
}

export async function createSignInCode(
  sql: Sql,
  code: { secret: string; identityId: string; codeChallenge: string; lifeMs: number },
): Promise<void> {
  await sql.query('delete from sign_in_codes where expires_at < flotilla_now()');
  await sql.query(
    `insert into sign_in_codes (hash, identity_id, code_challenge, expires_at)
     values ($1, $2, $3, flotilla_now() + $4 * interval '1 millisecond')`,
    [hashOf(code.secret), code.identityId, code.codeChallenge, code.lifeMs],
  );
}

/** Whom the code stands for, the first time it is shown in time; a wrong verifier spends it, too. */
export async function takeSignInCode(
  sql: Sql,
  secret: string,
): Promise<{ identity: Identity; codeChallenge: string } | null> {
  const [row] = await sql.query<{ code_challenge: string; is_valid: boolean; identity: IdentityRow }>(
    `delete from sign_in_codes c using identities i where c.hash = $1 and i.id = c.identity_id
     returning c.code_challenge, c.expires_at >= flotilla_now() as is_valid, to_jsonb(i) as identity`,
    [hashOf(secret)],
  );
  if (row === undefined || !row.is_valid) return null;
  return { identity: toIdentity(row.identity), codeChallenge: row.code_challenge };
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

function ownerOf(state: string): string {
  return `sign_in_attempt/${hashOf(state).toString('hex')}`;
}
