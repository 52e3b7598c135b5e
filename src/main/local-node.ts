// The agent in this process: engine found or started, key at hand, signing wired in.
import type { Logger } from 'pino';
import { runAgent } from '../agent/agent.ts';
import { signRequest } from '../sdk/sign.ts';
import { newId } from './ids.ts';

export interface NodeOptions {
  key: { publicKey: string; secretKey: string; url: string; nodeUuid: string | null; ca: string | null };
  engineSocket: string;
  isLanAllowed: boolean;
  publicHost: string | null;
  version: string;
  log: Logger;
  signal: AbortSignal;
  onConnected: () => void;
}

/** Runs the agent until the signal; containers go on after it. */
export function runNode({
  key,
  engineSocket,
  isLanAllowed,
  publicHost,
  version,
  log,
  signal,
  onConnected,
}: NodeOptions): Promise<void> {
  const signingKey = { publicKey: key.publicKey, secretKey: key.secretKey };
  return runAgent({
    nodeKey: {
      public_key: key.publicKey,
      secret_key: key.secretKey,
      url: key.url,
      ...(key.nodeUuid === null ? {} : { node_uuid: key.nodeUuid }),
    },
    agentVersion: version,
    sessionUuid: newId(),
    engineSocket,
    isLanAllowed,
    ...(publicHost === null ? {} : { publicHost }),
    signHeaders: (method, path) => signRequest({ key: signingKey, method, path }),
    ...(key.ca === null ? {} : { ca: key.ca }),
    log: log.child({ role: 'agent' }),
    signal,
    onConnected,
  });
}
