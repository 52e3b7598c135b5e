// Jobs of the reference-like images, and where their ports are published.
import assert from 'node:assert/strict';
import type { CreateJobBody, NodeUrl } from '../../../src/protocol/job.ts';
import type { Client } from '../../../src/sdk/client.ts';
import { eventually } from './eventually.ts';
import { onlyRunOf } from './place.ts';

type Container = CreateJobBody['parameters']['parameters'];

/** A PERSISTENT job, with a grace of its own so short that tests do not wait for programs that ignore TERM. */
export function aService(container: Container, job: Partial<CreateJobBody> = {}): CreateJobBody {
  const parameters = { stop_grace_ms: 1_000, ...container };
  return { title: 'e2e', task: 'PERSISTENT', ...job, parameters: { type: 'docker', parameters } };
}

/** The published port with this description. */
export function urlOf(urls: readonly NodeUrl[], description: string): NodeUrl {
  const url = urls.find((candidate) => candidate.description === description);
  assert.ok(url, `no ${description} among ${JSON.stringify(urls)}`);
  return url;
}

/** The same once the program behind it accepts connections. */
export async function readyUrlOf(client: Client, jobUuid: string, description: string): Promise<NodeUrl> {
  return eventually(`port ${description} of job ${jobUuid} to be ready`, async () => {
    const { status, status_reason, node_urls } = await onlyRunOf(client, jobUuid);
    assert.equal(status, 'RUNNING', `the run is ${status}: ${status_reason}`);
    const url = urlOf(node_urls, description);
    return url.ready ? url : null;
  });
}
