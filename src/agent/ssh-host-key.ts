// Reads the fingerprint of an SSH server's host key: the handshake goes as far as the key and no further.
import type { Socket } from 'node:net';
import { Client } from 'ssh2';

const handshakeMs = 5_000;

/** `SHA256:…` as OpenSSH prints it; null when no SSH server answers. Nobody is logged in. */
export function readSshHostKey(socket: Socket, sha256: (key: Buffer) => Buffer): Promise<string | null> {
  return new Promise((resolve) => {
    const client = new Client();
    const settle = (fingerprint: string | null) => {
      clearTimeout(timer);
      client.end();
      socket.destroy();
      resolve(fingerprint);
    };
    const timer = setTimeout(() => settle(null), handshakeMs);
    client.on('error', () => settle(null));
    client.on('close', () => settle(null));
    client.connect({
      sock: socket,
      username: 'nobody',
      // The key a client of today would be shown: ed25519 before the older ones.
      algorithms: {
        serverHostKey: [
          'ssh-ed25519',
          'ecdsa-sha2-nistp256',
          'ecdsa-sha2-nistp384',
          'ecdsa-sha2-nistp521',
          'rsa-sha2-512',
          'rsa-sha2-256',
        ],
      },
      hostVerifier: (key: Buffer) => {
        settle(`SHA256:${sha256(key).toString('base64').replace(/=+$/, '')}`);
        return false;
      },
    });
  });
}
