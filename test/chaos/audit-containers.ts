// What the engines must say after a chaos run: nothing left, nothing twice, and ends as the database tells them.
import { readFileSync } from 'node:fs';
import { askEngine } from './engine.ts';
import type { FaultKind } from './faults.ts';
import {
  type Evidence,
  engineDeaths,
  type Finding,
  faultsOn,
  nodeOf,
  type RunRow,
  silences,
} from './findings.ts';
import type { ChaosNode } from './node.ts';
import { publicPorts } from './place.ts';
import { type ContainerLife, certainLife } from './watcher.ts';

/** The database stamps a report when it arrives; the engine's event is a little older. */
const clockSlackMs = 50;

/** What is left on a node that has no run any more. */
export async function auditEngine(node: ChaosNode): Promise<Finding[]> {
  const ask = <T>(path: string) => askEngine<T>(node.socketPath, path);
  const containers =
    await ask<{ Id: string; State: string; Labels: Record<string, string> }[]>('/containers/json?all=1');
  const { Volumes: volumes } = await ask<{ Volumes: { Name: string }[] | null }>('/volumes');
  const networks = await ask<{ Name: string; Labels: Record<string, string> | null }[]>('/networks');
  const foreign = networks.filter(
    ({ Name, Labels }) =>
      !['bridge', 'host', 'none'].includes(Name) && Labels?.['flotilla.network'] === undefined,
  );
  const leak = (text: string, more: Partial<Finding> = {}): Finding => ({
    kind: 'leaked',
    text,
    node: node.name,
    ...more,
  });
  return [
    ...containers.map(({ Id, State, Labels }) =>
      leak(`a container is left, ${State}`, { containerId: Id, ...runOf(Labels) }),
    ),
    ...(volumes ?? []).map(({ Name }) => leak(`the volume ${Name} is left`)),
    ...foreign.map(({ Name }) => leak(`the network ${Name} is left`)),
  ];
}

const tcpListen = '0A';

/** Public ports that a server still listens on although nothing is open: servers share this process's network. */
export function auditListeners(): Finding[] {
  const lines = readFileSync('/proc/net/tcp', 'utf8').trim().split('\n').slice(1);
  return lines.flatMap((line): Finding[] => {
    const [, local = '', , state] = line.trim().split(/\s+/);
    const port = Number.parseInt(local.split(':')[1] ?? '', 16);
    const isPublic = port >= publicPorts.from && port <= publicPorts.to;
    return isPublic && state === tcpListen ? [{ kind: 'leaked', text: `port ${port} is still open` }] : [];
  });
}

function runOf(labels: Record<string, string>): Partial<Finding> {
  const runUuid = labels['flotilla.run'];
  return runUuid === undefined ? {} : { runUuid };
}

/** One run starts one container once, and two runs of a job never live at the same time. */
export function auditTwice(evidence: Evidence): Finding[] {
  const lives = evidence.lives.filter((life) => life.startedAtMs !== null);
  const byRun = Map.groupBy(lives, ({ runUuid }) => runUuid);
  const startedTwice = [...byRun.values()]
    .filter((starts) => starts.length > 1)
    .flatMap((starts) =>
      starts.slice(1).map((life) => ofLife('twice', life, 'its run started a container before')),
    );
  const byJob = Map.groupBy(lives, ({ jobUuid }) => jobUuid);
  return [...startedTwice, ...[...byJob.values()].flatMap((ofJob) => overlaps(ofJob, evidence))];
}

function overlaps(lives: readonly ContainerLife[], { runs }: Evidence): Finding[] {
  const ordered = lives.toSorted((a, b) => (a.startedAtMs ?? 0) - (b.startedAtMs ?? 0));
  return ordered.flatMap((life, index) => {
    const next = ordered[index + 1];
    const [one, other] = [certainLife(life), next === undefined ? null : certainLife(next)];
    if (next === undefined || one === null || other === null || one.toMs <= other.fromMs) return [];
    // A node that was given up may run what it had until it is heard again.
    if (runs.find(({ id }) => id === life.runUuid)?.is_fenced) return [];
    const ms = Math.round(one.toMs - other.fromMs);
    return [
      ofLife(
        'twice',
        next,
        `it started ${ms} ms before the end of ${life.id.slice(0, 12)} on ${life.node.name}`,
      ),
    ];
  });
}

/** Two living containers never had the same GPU of a node. */
export function auditGpus({ nodes, lives }: Evidence): Finding[] {
  return nodes.flatMap((node) => {
    const given = readGpuLog(node).flatMap(({ id, gpus }) => {
      const life = lives.find((it) => it.id === id);
      const span = life === undefined ? null : certainLife(life);
      return life === undefined || span === null ? [] : gpus.map((gpu) => ({ gpu, life, span }));
    });
    return [...Map.groupBy(given, ({ gpu }) => gpu).values()].flatMap((ofGpu) => {
      const ordered = ofGpu.toSorted((a, b) => a.span.fromMs - b.span.fromMs);
      return ordered.flatMap(({ span, life, gpu }, index) => {
        const before = ordered[index - 1];
        if (before === undefined || before.span.toMs <= span.fromMs) return [];
        return [ofLife('twice', life, `it got ${gpu} while ${before.life.id.slice(0, 12)} had it`)];
      });
    });
  });
}

function readGpuLog({ gpuLog }: ChaosNode): { id: string; gpus: string[] }[] {
  let text = '';
  try {
    text = readFileSync(gpuLog, 'utf8');
  } catch {
    // No run of this node asked for a GPU.
  }
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [, id = '', gpus = ''] = line.split(' ');
      return { id, gpus: gpus.split(',').filter((gpu) => gpu !== '' && gpu !== 'void' && gpu !== 'none') };
    });
}

/** What the run says of its end is what its container did. */
export function auditTruth(evidence: Evidence): Finding[] {
  const byRun = Map.groupBy(evidence.lives, ({ runUuid }) => runUuid);
  return evidence.runs.flatMap((run) => {
    const lives = byRun.get(run.id) ?? [];
    return [
      ...lives.flatMap((life) => lifeProblems(run, life)),
      ...endProblems(
        evidence,
        run,
        lives.find(({ startedAtMs }) => startedAtMs !== null),
      ),
    ];
  });
}

function lifeProblems(run: RunRow, life: ContainerLife): Finding[] {
  const span = certainLife(life);
  if (span === null || run.released_at === null || run.is_fenced) return [];
  const lateMs = Math.round(span.toMs - run.released_at);
  if (lateMs <= clockSlackMs) return [];
  return [ofLife('untrue', life, `it lived ${lateMs} ms after its end was reported as proved`)];
}

function endProblems(evidence: Evidence, run: RunRow, life: ContainerLife | undefined): Finding[] {
  const say = (text: string): Finding => ({
    kind: 'untrue',
    text,
    jobUuid: run.job_id,
    runUuid: run.id,
    ...(life === undefined ? { node: run.node_id } : { node: life.node.name, containerId: life.id }),
  });
  const program = evidence.acknowledged.get(run.job_id)?.program;
  if (run.status === 'COMPLETED') {
    if (life === undefined) return [say('COMPLETED, yet no container of it was seen to start')];
    if (life.exitCode !== null && life.exitCode !== 0)
      return [say(`COMPLETED, yet it exited with ${life.exitCode}`)];
    return [];
  }
  if (run.status !== 'FAILED' || program === undefined) return [];
  const hadFault = (kinds: readonly FaultKind[]) => hadFaultDuring(evidence, { run, life, kinds });
  // An engine that was killed before it wrote an exit code down knows none.
  if (run.exit_code === 255 && hadFault(engineDeaths)) return [];
  const wasExit = run.code === 'exited' || run.code === 'out_of_memory';
  if (wasExit && life?.exitCode !== null && life?.exitCode !== run.exit_code)
    return [say(`FAILED with exit code ${run.exit_code}, yet it exited with ${life?.exitCode}`)];
  if (wasExit && run.exit_code === program.exitCode) return [];
  if (program.kind === 'absent' && run.code === 'bad_command') return [];
  if (run.code === 'node_lost' && hadFault(silences)) return [];
  if (run.code === 'cut_off' && nodeOf(evidence, run)?.stopsWhenCutOff) return [];
  if (hadFault([...engineDeaths, 'docker_hang', 'agent_kill', 'container_kill'])) return [];
  const told = `${run.code}, exit code ${run.exit_code}`;
  return [
    say(
      `FAILED (${told}) without a fault of its node: ${run.reason?.slice(0, 150)}; ${faultsNear(evidence, run)}`,
    ),
  ];
}

/** The faults of the node around the run's end, each with its distance to it. */
function faultsNear({ faults, nodes }: Evidence, run: RunRow): string {
  const node = nodes.find(({ uuid }) => uuid === run.node_id);
  const atMs = run.ended_at ?? run.released_at ?? 0;
  const near = faults.filter(
    ({ target, fromMs }) => target.endsWith(`-${node?.number}`) && Math.abs(fromMs - atMs) < 60_000,
  );
  const list = near.map(({ kind, fromMs }) => `${kind} ${Math.round(fromMs - atMs)} ms`);
  return `faults of its node from its end: ${list.join(', ') || 'none'}`;
}

function hadFaultDuring(
  evidence: Evidence,
  { run, life, kinds }: { run: RunRow; life: ContainerLife | undefined; kinds: readonly FaultKind[] },
): boolean {
  const node = nodeOf(evidence, run);
  const told = run.ended_at ?? run.released_at ?? Date.now();
  // The engine's own stamp, where there is one: the database stamps a report as it arrives, less the age that it tells.
  const toMs = Math.max(told, life?.diedAtMs ?? 0);
  const fromMs = run.started_at ?? toMs - 60_000;
  return node !== undefined && faultsOn(evidence, node, { kinds, fromMs, toMs }).length > 0;
}

function ofLife(kind: Finding['kind'], life: ContainerLife, text: string): Finding {
  return {
    kind,
    text,
    jobUuid: life.jobUuid,
    runUuid: life.runUuid,
    node: life.node.name,
    containerId: life.id,
  };
}
