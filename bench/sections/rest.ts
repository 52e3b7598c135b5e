// What the control plane costs while nothing happens: memory and CPU, alone and with connected nodes.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { atMost, type Figure } from '../support/figures.ts';
import { connectFleet } from '../support/fleet.ts';
import { startServer } from '../support/flotilla.ts';
import { endChild, type Workspace } from '../support/workspace.ts';

const maxRestMegabytes = 150;
/** Linux counts CPU time in hundredths of a second (USER_HZ). */
const ticksPerSecond = 100;

export async function benchRest(workspace: Workspace, { isQuick }: { isQuick: boolean }): Promise<Figure[]> {
  const idleMs = isQuick ? 8_000 : 20_000;
  const { url } = await workspace.newDatabase('flotilla');
  // The very first start on a machine compiles every file, and the compiler's memory stays with that process.
  const first = await startServer(workspace, (await workspace.newDatabase('first')).url);
  await endChild(first.child);
  const flotilla = await startServer(workspace, url);
  const figures = restFigures('no nodes', await observe(flotilla.pid, idleMs), maxRestMegabytes);
  for (const nodeCount of isQuick ? [100] : [100, 1_000]) {
    const agents = await connectFleet(workspace, flotilla, { nodeCount });
    figures.push(...restFigures(`${nodeCount} nodes`, await observe(flotilla.pid, idleMs)));
    await agents.call('disconnect', null);
    await endChild(agents.child);
  }
  await endChild(flotilla.child);
  return figures;
}

interface Cost {
  megabytes: number;
  cpuPercent: number;
}

/** Resident memory after the time, and the share of one core used in its second half. */
async function observe(pid: number, forMs: number): Promise<Cost> {
  await sleep(forMs / 2);
  const before = { seconds: cpuSeconds(pid), atMs: performance.now() };
  await sleep(forMs / 2);
  const elapsedSeconds = (performance.now() - before.atMs) / 1000;
  return {
    megabytes: residentMegabytes(pid),
    cpuPercent: ((cpuSeconds(pid) - before.seconds) / elapsedSeconds) * 100,
  };
}

function residentMegabytes(pid: number): number {
  const kibibytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return (Number(kibibytes) * 1024) / 1e6;
}

function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

function restFigures(who: string, { megabytes, cpuPercent }: Cost, limit?: number): Figure[] {
  const goal = limit === undefined ? {} : { goal: atMost(megabytes, limit, 'MB') };
  return [
    { section: 'rest', name: `server at rest, ${who}: memory`, value: megabytes, unit: 'MB', ...goal },
    { section: 'rest', name: `server at rest, ${who}: CPU of one core`, value: cpuPercent, unit: '%' },
  ];
}
