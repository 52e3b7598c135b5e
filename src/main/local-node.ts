// The agent in this process: engine found or started, key at hand, signing wired in.
import { join } from 'node:path';
import type { Logger } from 'pino';
import { runAgent } from '../agent/agent.ts';
import type { AgentSettings } from '../cli/roles.ts';
import { signRequest } from '../sdk/sign.ts';
import { newId } from './ids.ts';

export interface NodeOptions {
  key: { publicKey: string; secretKey: string; url: string; nodeUuid: string | null; ca: string | null };
  /** Absent: the key's alone. */
  serverUrls?: readonly string[];
  engineSocket: string;
  settings: AgentSettings & { stateDirectory: string };
  version: string;
  log: Logger;
  signal: AbortSignal;
  onConnected: (serverUrl: string) => void;
}

/** Runs the agent until the signal; containers go on after it. */
export function runNode({
  key,
  serverUrls = [key.url],
  engineSocket,
  settings,
  version,
  log,
  signal,
  onConnected,
}: NodeOptions): Promise<void> {
  const { isLanAllowed, allowedRegistries, imageCacheBytes, stateDirectory, publicHost } = settings;
  const { stopWhenCutOffMs } = settings;
  const signingKey = { publicKey: key.publicKey, secretKey: key.secretKey };
  return runAgent({
    nodeKey: {
      public_key: key.publicKey,
      secret_key: key.secretKey,
      url: key.url,
      ...(key.nodeUuid === null ? {} : { node_uuid: key.nodeUuid }),
    },
    serverUrls,
    agentVersion: version,
    sessionUuid: newId(),
    engineSocket,
    isLanAllowed,
    allowedRegistries,
    // Several nodes of one machine may share the folder.
    stateDirectory: join(stateDirectory, key.nodeUuid ?? key.publicKey),
    ...(imageCacheBytes === null ? {} : { imageCacheBytes }),
    ...(publicHost === null ? {} : { publicHost }),
    ...(stopWhenCutOffMs === null ? {} : { stopWhenCutOffMs }),
    signHeaders: (method, path, timeMs) => signRequest({ key: signingKey, method, path, timeMs }),
    ...(key.ca === null ? {} : { ca: key.ca }),
    log: log.child({ role: 'agent' }),
    signal,
    onConnected: (_welcome, serverUrl) => onConnected(serverUrl),
  });
}
