// Secrets at rest: AES-256-GCM under the master key, bound to what they belong to by the additional data.
import { createCipheriv, createDecipheriv } from 'node:crypto';

/** The master key as 32 bytes, and the id that is kept beside what it sealed. */
export interface MasterKey {
  id: string;
  key: Buffer;
}

export interface Vault {
  keyId: string;
  /** `owner` names account and resource; the same must be given to open. */
  seal(plain: string, owner: string): Buffer;
  open(sealed: Buffer, owner: string): string;
}

/** The record was sealed with another master key, or was changed. */
export class SealBroken extends Error {
  override name = 'SealBroken';
}

const version = 1;
const idBytes = 4;
/** How long the nonce of a record is: 96 bits, as GCM takes them (NIST SP 800-38D, 8.2.2: random, never used twice). */
export const nonceBytes = 12;
const tagBytes = 16;
const headerBytes = 1 + idBytes;

/** `drawNonce` gives fresh random bytes, `nonceBytes` of them. */
export function createVault({ id, key }: MasterKey, drawNonce: () => Buffer): Vault {
  const header = Buffer.concat([Buffer.from([version]), Buffer.from(id, 'hex')]);
  if (header.length !== headerBytes) throw new Error(`A master key id has 8 hex digits, not "${id}".`);
  return {
    keyId: id,
    seal(plain, owner) {
      const nonce = drawNonce();
      const cipher = createCipheriv('aes-256-gcm', key, nonce);
      cipher.setAAD(Buffer.from(owner));
      const [body, rest] = [cipher.update(plain, 'utf8'), cipher.final()];
      return Buffer.concat([header, nonce, cipher.getAuthTag(), body, rest]);
    },
    open(sealed, owner) {
      if (!sealed.subarray(0, headerBytes).equals(header)) {
        throw new SealBroken(`A secret was sealed with another master key than ${id}.`);
      }
      const nonceEnd = headerBytes + nonceBytes;
      const tagEnd = nonceEnd + tagBytes;
      const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(headerBytes, nonceEnd));
      decipher.setAAD(Buffer.from(owner));
      decipher.setAuthTag(sealed.subarray(nonceEnd, tagEnd));
      try {
        return Buffer.concat([decipher.update(sealed.subarray(tagEnd)), decipher.final()]).toString('utf8');
      } catch (cause) {
        throw new SealBroken(`A secret of ${owner} cannot be opened: wrong master key or changed record.`, {
          cause,
        });
      }
    },
  };
}
