// Ends an upgrade that is refused.
import type { Duplex } from 'node:stream';
import { upgradeRefusal } from '../protocol/upgrade-refusal.ts';

/** Takes a refusal, an error that carries one, or any other error, which is ours. */
export function refuseUpgrade(socket: Duplex, reason: unknown): void {
  socket.end(upgradeRefusal(reason));
}
