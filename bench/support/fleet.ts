// Registers simulated nodes through the API and connects their agents.
import type { SigningKey } from '../../src/sdk/sign.ts';
import type { SimulatedAgentsApi } from '../simulated-agents.ts';
import type { Flotilla } from './flotilla.ts';
import type { Worker } from './worker.ts';
import type { Workspace } from './workspace.ts';

const registerAtOnce = 16;

export async function connectFleet(
  workspace: Workspace,
  flotilla: Flotilla,
  { nodeCount, heartbeatMs = 3_000 }: { nodeCount: number; heartbeatMs?: number },
): Promise<Worker<SimulatedAgentsApi>> {
  const keys: SigningKey[] = [];
  let left = nodeCount;
  const register = async () => {
    while (left > 0) {
      left -= 1;
      const { key } = await flotilla.client.nodes.create({ name: `simulated-${nodeCount}-${left}` });
      keys.push({ publicKey: key.public_key, secretKey: key.secret_key });
    }
  };
  await Promise.all(Array.from({ length: registerAtOnce }, register));
  const agents = workspace.startWorker<SimulatedAgentsApi>(
    new URL('../simulated-agents.ts', import.meta.url),
  );
  await agents.call('connect', { url: flotilla.url, keys, heartbeatMs });
  return agents;
}
