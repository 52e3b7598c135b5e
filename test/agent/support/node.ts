// A node for the agent's tests: agents in this process or as children of it, and the engine behind them.
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type AgentOptions, runAgent } from '../../../src/agent/agent.ts';
import type { AgentLog } from '../../../src/agent/log.ts';
import { ControlPlane } from './control-plane.ts';

assert.ok(
  process.env.DOCKER_HOST,
  'these tests need a Docker Engine: run them through scripts/with-docker.sh',
);

export interface LogLine {
  level: string;
  fields: object;
  message: string;
}

export interface RunningAgent {
  lines: LogLine[];
  stop: () => Promise<void>;
}

/** An agent in this process that speaks to `plane`. */
export function startAgent(plane: ControlPlane, options: Partial<AgentOptions> = {}): RunningAgent {
  const abort = new AbortController();
  const lines: LogLine[] = [];
  const done = runAgent({
    nodeKey: {
      public_key: 'pk_node',
      secret_key: 'sk_node',
      url: plane.url,
      node_uuid: plane.nodeUuid,
    },
    agentVersion: 'test',
    sessionUuid: randomUUID(),
    engineSocket: null,
    signHeaders: (method, path) => ({ 'X-Test-Signature': `${method} ${path}` }),
    allowedRegistries: ['127.0.0.0/8'],
    log: collectingLog(lines),
    signal: abort.signal,
    ...options,
  });
  return {
    lines,
    async stop() {
      abort.abort();
      await done;
    },
  };
}

function collectingLog(lines: LogLine[]): AgentLog {
  const at = (level: string) => (fields: object, message: string) => {
    lines.push({ level, fields, message });
  };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** An agent in a process of its own, to be killed. */
export function spawnAgent(plane: ControlPlane): ChildProcess {
  const program = fileURLToPath(new URL('./agent-process.ts', import.meta.url));
  return spawn(process.execPath, [program, plane.url, plane.nodeUuid], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
}

export async function killHard(agent: ChildProcess): Promise<void> {
  if (agent.exitCode !== null || agent.signalCode !== null) return;
  agent.kill('SIGKILL');
  await once(agent, 'exit');
}

const run = promisify(execFile);

export async function docker(...parameters: string[]): Promise<string> {
  const { stdout } = await run('docker', parameters);
  return stdout.trim();
}

/** With the engine's own builder: BuildKit would ask for more than this machine has. */
export async function buildImage(name: string, dockerfile: string): Promise<void> {
  const building = run('docker', ['build', '-q', '-t', name, '-'], {
    env: { ...process.env, DOCKER_BUILDKIT: '0' },
  });
  building.child.stdin?.end(dockerfile);
  await building;
}

export function containerOf(runUuid: string): string {
  return `flotilla-${runUuid}`;
}

/** `docker inspect`; null when there is no such container. */
export async function inspect(name: string): Promise<Record<string, never> | null> {
  try {
    return JSON.parse(await docker('inspect', '--type', 'container', name))[0];
  } catch {
    return null;
  }
}

export async function isGone(runUuid: string): Promise<boolean> {
  return (await inspect(containerOf(runUuid))) === null;
}

/** Plane and agent for one test; both end with it, and so do the node's containers. */
export async function withNode(
  body: (node: { plane: ControlPlane; agent: RunningAgent }) => Promise<void>,
  options: Partial<AgentOptions> = {},
): Promise<void> {
  const plane = await new ControlPlane().listen();
  const agent = startAgent(plane, options);
  try {
    await body({ plane, agent });
    assert.deepEqual(plane.logFaults, []);
  } finally {
    await agent.stop();
    await plane.close();
    await removeContainers(plane.nodeUuid);
  }
}

export async function removeContainers(nodeUuid: string): Promise<void> {
  const ids = await docker('ps', '-aq', '--filter', `label=flotilla.node=${nodeUuid}`);
  if (ids === '') return;
  await docker('rm', '-f', ...ids.split('\n')).catch((error: unknown) => {
    // The agent's own removal may still be under way.
    if (!/already in progress|No such container/.test(String(error))) throw error;
  });
}
