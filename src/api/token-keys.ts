// The keys of access tokens in memory: which one signs, which verify, and the public set; read again every minute.
import { type CryptoKey, exportJWK, generateKeyPair, importJWK } from 'jose';
import type { Database } from '../db/database.ts';
import { openTokenKeys } from '../db/token-keys.ts';
import type { Vault } from '../db/vault.ts';
import type { JwkSet } from '../protocol/sign-in.ts';

/** Understood by every verifier of today, and short. */
export const tokenAlgorithm = 'ES256';

export interface TokenKeys {
  signing(): Promise<{ id: string; key: CryptoKey }>;
  /** Null for a key that nobody has, or has no more. */
  verifying(id: string): Promise<CryptoKey | null>;
  publicSet(): Promise<JwkSet>;
}

interface KeyRing {
  signing: { id: string; key: CryptoKey };
  verifying: Map<string, CryptoKey>;
  publicSet: JwkSet;
}

const freshMs = 60_000;
/** A key id we do not know may be another replica's new one; strangers' tokens do not make us read all the time. */
const lookAgainMs = 1_000;

export function createTokenKeys(deps: {
  database: Database;
  vault: Vault;
  now: () => number;
  newId: () => string;
}): TokenKeys {
  let ring: Promise<KeyRing> | undefined;
  let readAtMs = Number.NEGATIVE_INFINITY;
  const read = (maxAgeMs: number): Promise<KeyRing> => {
    if (ring !== undefined && Math.abs(deps.now() - readAtMs) < maxAgeMs) return ring;
    readAtMs = deps.now();
    const own = readRing(deps);
    ring = own;
    own.catch(() => {
      if (ring === own) ring = undefined;
    });
    return own;
  };
  return {
    signing: async () => (await read(freshMs)).signing,
    async verifying(id) {
      const known = (await read(freshMs)).verifying.get(id);
      return known ?? (await read(lookAgainMs)).verifying.get(id) ?? null;
    },
    publicSet: async () => (await read(freshMs)).publicSet,
  };
}

async function readRing(deps: Parameters<typeof createTokenKeys>[0]): Promise<KeyRing> {
  const keys = await openTokenKeys(deps.database, {
    vault: deps.vault,
    newPair: () => newPair(deps.newId()),
  });
  const signing = keys.find((key) => key.isSigning);
  if (signing === undefined) throw new Error('There is no key that signs access tokens.');
  const verifying = await Promise.all(
    keys.map(async ({ id, publicJwk }) => [id, await imported(publicJwk)] as const),
  );
  return {
    signing: { id: signing.id, key: await imported(signing.privateJwk) },
    verifying: new Map(verifying),
    // What was written by newPair below.
    publicSet: { keys: keys.map(({ publicJwk }) => publicJwk as JwkSet['keys'][number]) },
  };
}

async function newPair(id: string) {
  const { publicKey, privateKey } = await generateKeyPair(tokenAlgorithm, { extractable: true });
  const publicJwk = { ...(await exportJWK(publicKey)), kid: id, alg: tokenAlgorithm, use: 'sig' };
  return { id, publicJwk, privateJwk: { ...(await exportJWK(privateKey)) } };
}

async function imported(jwk: Record<string, unknown>): Promise<CryptoKey> {
  const key = await importJWK(jwk, tokenAlgorithm);
  if (key instanceof Uint8Array) throw new Error('A key of access tokens is not of its kind.');
  return key;
}
