// node_urls of a run: one entry for each published port, application ports first, SSH last.
import { type PublishedPort, sshPort } from '../domain/job.ts';
import type { NodeUrl } from '../protocol/job.ts';

/** Where the gateway is reached from outside. */
export interface GatewayAddress {
  hostname: string;
  /** The gateway ends TLS for every port but SSH's. */
  hasTls: boolean;
}

export function nodeUrls(ports: readonly PublishedPort[], { hostname, hasTls }: GatewayAddress): NodeUrl[] {
  return ports.map(({ containerPort, port, hostname: nodeHost, isReady, hostKey }) => {
    const isSsh = containerPort === sshPort;
    return {
      description: isSsh ? 'ssh' : String(containerPort),
      hostname: nodeHost ?? hostname,
      port,
      protocol: 'tcp',
      tls: hasTls && !isSsh && nodeHost === null,
      ready: isReady,
      ...(isSsh ? { host_key_fingerprint: hostKey } : {}),
    };
  });
}

/** The user that the images of this API expect beside the token. */
const tokenUser = 'duser';

export function accessTokens(token: string | null): { token: string; user: string }[] {
  return token === null ? [] : [{ token, user: tokenUser }];
}
