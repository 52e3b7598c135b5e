// Lets accounts that pay in advance create jobs only while they have credit; costs others no read.

import { getAvailable, readPrepaid } from '../db/credit.ts';
import type { Database } from '../db/database.ts';
import { ApiError } from './errors.ts';

/** Who pays in advance is read again this often at most; what runs is watched by the leader. */
const readMs = 2_000;

export interface CreditGate {
  /** One indexed read for an account that pays in advance, else none. */
  isBroke(accountId: string): Promise<boolean>;
}

export function createCreditGate(database: Database, monotonicNow = () => performance.now()): CreditGate {
  let readAtMs = Number.NEGATIVE_INFINITY;
  let known: ReturnType<typeof readPrepaid> | undefined;

  function read(): ReturnType<typeof readPrepaid> {
    if (known !== undefined && monotonicNow() - readAtMs < readMs) return known;
    readAtMs = monotonicNow();
    const reading = readPrepaid(database);
    known = reading;
    reading.catch(() => {
      known = undefined;
    });
    return reading;
  }

  return {
    async isBroke(accountId) {
      const { isDefault, exceptions } = await read();
      const isPrepaid = isDefault !== exceptions.has(accountId);
      return isPrepaid && (await getAvailable(database, accountId)) <= 0;
    },
  };
}

export function insufficientCredit(): ApiError {
  return new ApiError(
    'insufficient_credit',
    'This account pays in advance and has no credit left; ask an admin of the cluster for credits.',
  );
}
