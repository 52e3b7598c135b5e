// The refusal of an upgrade: an HTTP answer with the API's error envelope, then the end.
import type { Duplex } from 'node:stream';

export interface UpgradeRefusal {
  status: number;
  code: string;
  message: string;
}

/** Takes a refusal, an error that carries one, or any other error, which is ours. */
export function refuseUpgrade(socket: Duplex, reason: unknown): void {
  const { status, code, message } = refusalOf(reason);
  const body = JSON.stringify({ error: { code, message, request_id: '' } });
  socket.end(
    `HTTP/1.1 ${status} Refused\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}

function refusalOf(reason: unknown): UpgradeRefusal {
  const { status, code, message } = reason as Partial<UpgradeRefusal>;
  if (typeof status === 'number' && typeof code === 'string')
    return { status, code, message: message ?? code };
  return { status: 503, code: 'unavailable', message: 'The upgrade cannot be checked right now; try again.' };
}
