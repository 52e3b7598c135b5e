// Nonces of plain reads: a bounded filter of this replica, best effort; requests with effect are checked in the database.

export interface ReadNonces {
  /** False when this replica saw the key and nonce in the last ten minutes and still remembers. */
  claim(keyId: string, nonce: string): boolean;
}

const windowMs = 600_000;
/** Two generations of this many are remembered: some 30 MB at the most. */
const maxPerGeneration = 150_000;

export function createReadNonces(now: () => number): ReadNonces {
  let current = new Set<string>();
  let previous = new Set<string>();
  let turnedAtMs = now();
  return {
    claim(keyId, nonce) {
      if (current.size >= maxPerGeneration || now() - turnedAtMs > windowMs) {
        previous = current;
        current = new Set();
        turnedAtMs = now();
      }
      const entry = `${keyId} ${nonce}`;
      if (current.has(entry) || previous.has(entry)) return false;
      current.add(entry);
      return true;
    },
  };
}
