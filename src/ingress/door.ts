// The door of a public port: who really connects, whether they may, and TLS taken off; before any byte goes further.
import type { Socket } from 'node:net';
import { type SecureContext, TLSSocket } from 'node:tls';
import type { AddressRule } from './address-rules.ts';
import { firstBytes } from './first-bytes.ts';
import { parseProxyHeader } from './proxy-protocol.ts';

export interface DoorOptions {
  /** Peers whose PROXY header is read, and must be there; null: the protocol is off. */
  trustedProxies: AddressRule | null;
  /** null: the door has no certificate. */
  tls: { context: SecureContext; isPlainAllowed: boolean } | null;
}

export type Entry =
  | { kind: 'admitted'; socket: Socket }
  /** Not among those who may connect. */
  | { kind: 'refused' }
  /** No such words as this door understands, or none in time. */
  | { kind: 'unusable' };

const proxyHeaderMs = 5_000;
const handshakeMs = 10_000;
/** Where both are welcome, a client that waits for the server to speak first is taken for plain after this. */
const silentPlainMs = 1_000;
const tlsRecordByte = 0x16;
const unusable: Entry = { kind: 'unusable' };

/** `mayEnter` is asked for the address of the client itself. Bytes that the client sent stay unread. */
export async function enter(
  socket: Socket,
  options: DoorOptions,
  rules: { mayEnter: AddressRule; hasTls: boolean },
): Promise<Entry> {
  const source = await sourceOf(socket, options);
  if (source === null) return unusable;
  if (!rules.mayEnter(source)) return { kind: 'refused' };
  if (!rules.hasTls || options.tls === null) return { kind: 'admitted', socket };
  const { context, isPlainAllowed } = options.tls;
  const isTls = await beginsTls(socket, isPlainAllowed);
  if (isTls) return takeOffTls(socket, context);
  return isPlainAllowed && !socket.destroyed ? { kind: 'admitted', socket } : unusable;
}

/** null: a trusted proxy that did not say for whom it connects. */
async function sourceOf(socket: Socket, { trustedProxies }: DoorOptions): Promise<string | null> {
  const peer = socket.remoteAddress ?? '';
  if (trustedProxies === null || !trustedProxies(peer)) return peer;
  const header = await firstBytes(
    socket,
    (bytes) => {
      const parsed = parseProxyHeader(bytes);
      if (parsed.kind === 'incomplete') return null;
      return { taken: parsed.kind === 'header' ? parsed.byteCount : 0, answer: parsed };
    },
    proxyHeaderMs,
  );
  return header?.kind === 'header' ? (header.source ?? peer) : null;
}

async function beginsTls(socket: Socket, isPlainAllowed: boolean): Promise<boolean> {
  const decide = (bytes: Buffer) => ({ taken: 0, answer: bytes[0] === tlsRecordByte });
  const answer = await firstBytes(socket, decide, isPlainAllowed ? silentPlainMs : handshakeMs);
  return answer ?? false;
}

function takeOffTls(socket: Socket, secureContext: SecureContext): Promise<Entry> {
  return new Promise((resolve) => {
    const secure = new TLSSocket(socket, { isServer: true, secureContext });
    const settle = (entry: Entry) => {
      clearTimeout(timer);
      if (entry.kind !== 'admitted') secure.destroy();
      resolve(entry);
    };
    const timer = setTimeout(() => settle(unusable), handshakeMs);
    secure.on('error', () => settle(unusable));
    secure.once('close', () => settle(unusable));
    secure.once('secure', () => settle({ kind: 'admitted', socket: secure }));
  });
}
