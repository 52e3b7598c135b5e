// Nodes of one server whose agents a test plays by hand; each has a region of its own, so that a test's jobs come to it.
import assert from 'node:assert/strict';
import type { DesiredRun, RunEvent } from '../../src/protocol/agent-messages.ts';
import type { Job } from '../../src/protocol/job.ts';
import type { Node } from '../../src/protocol/node.ts';
import { regionCodes } from '../../src/protocol/schema.ts';
import { HandAgent } from './agent.ts';
import { aJob } from './builders.ts';
import type { Client } from './client.ts';
import type { TestServer } from './server.ts';

export interface HandNode {
  id: string;
  client: Client;
  agent: HandAgent;
  region: string;
}

export interface HandNodes {
  connect(): Promise<HandNode>;
  /** A job on that node, with the order its agent got. */
  place(node: HandNode, fields?: Parameters<typeof aJob>[0]): Promise<{ job: Job; order: DesiredRun }>;
  get(node: HandNode): Promise<Node>;
  close(): void;
}

export function createHandNodes({ admin, client }: TestServer): HandNodes {
  const regions: string[] = [...regionCodes];
  const agents: HandAgent[] = [];
  return {
    async connect() {
      const region = regions.pop() ?? assert.fail('more regions');
      const body = { name: `node-${region}`, region_code: region };
      const { uuid, key } = await admin.ask<Node & { key: { public_key: string; secret_key: string } }>(
        'POST',
        '/v1/nodes',
        { body },
      );
      const own = client({ publicKey: key.public_key, secretKey: key.secret_key });
      const agent = await HandAgent.dial(own);
      agents.push(agent);
      await agent.greet();
      return { id: uuid, client: own, agent, region };
    },
    async place({ agent, region }, fields = {}) {
      const job = await admin.createJob(aJob({ allowed_region_codes: [region], ...fields }));
      const { runs } = await agent.next('desired');
      const [order] = runs;
      assert.ok(order !== undefined && runs.length === 1 && order.job_uuid === job.uuid);
      return { job, order };
    },
    get: ({ id }) => admin.ask<Node>('GET', `/v1/nodes/${id}`),
    close() {
      for (const agent of agents) agent.close();
    },
  };
}

/** The container runs, without a port. */
export const runsNow: RunEvent = {
  kind: 'running',
  started_ms_ago: 0,
  image_digest: null,
  image_size_bytes: null,
  ports: [],
};

export function endsWith(exitCode: number, lastLogLines = ''): RunEvent {
  return {
    kind: 'exited',
    exit_code: exitCode,
    exit_signal: null,
    is_oom_killed: false,
    ended_ms_ago: 0,
    ran_ms: 5,
    error: null,
    last_log_lines: lastLogLines,
  };
}
