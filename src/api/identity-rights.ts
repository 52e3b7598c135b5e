// From the claims of a person to the identity that is kept: which account, which preset, which permissions.
import type { Database } from '../db/database.ts';
import { findAccountIds, type Identity } from '../db/identities.ts';
import { type IdentityMapping, mappingFor } from '../domain/identity-mapping.ts';
import { type KeyPreset, keyPresets, type Permission, permissions } from '../protocol/api-key.ts';
import { ApiError } from './errors.ts';
import { presetPermissions } from './key-presets.ts';

interface Person {
  issuer: string;
  claims: Record<string, unknown> & { sub: string };
}

/** Throws 403 for whom no mapping names, and 503 where the mapping names no account that is there. */
export async function identityOf(
  deps: { database: Database; newId: () => string },
  { issuer, claims }: Person,
  mappings: readonly IdentityMapping[],
): Promise<Identity> {
  const mapping = mappingFor(claims, mappings);
  if (mapping === null) {
    throw new ApiError(
      'permission_denied',
      'You are known to the provider, but nothing here maps you to an account; ask the operator of this server.',
    );
  }
  const [accountId, another] = await findAccountIds(deps.database, mapping.account);
  if (accountId === undefined || another !== undefined) {
    const what = accountId === undefined ? 'no account' : 'more than one account';
    throw new ApiError(
      'unavailable',
      `Your mapping names ${what} ("${mapping.account}"); ask the operator of this server.`,
    );
  }
  return {
    ...{ id: deps.newId(), issuer, subject: claims.sub, accountId, preset: mapping.preset },
    email: typeof claims.email === 'string' ? claims.email.slice(0, 254) : null,
    permissions: permissionsOf(mapping.preset),
  };
}

/** `cluster-admin` is every permission, as the key has that a server makes on its own machine. */
function permissionsOf(preset: string): readonly Permission[] {
  if (preset === 'cluster-admin') return permissions;
  const known: readonly string[] = keyPresets;
  return known.includes(preset) ? presetPermissions[preset as KeyPreset] : [];
}
