// Machines on one machine: network namespaces with cables to this one.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Machine {
  pid: number;
  /** Put before a command, it runs the command on the machine. */
  inside: readonly string[];
  run(...command: string[]): void;
}

/** A network namespace lives as long as the process that holds it, and that one ends with this process. */
export async function startMachine(keep: (holder: ChildProcess) => void): Promise<Machine> {
  const holder = spawn('setpriv', ['--pdeathsig', 'KILL', 'unshare', '--net', 'sleep', 'infinity'], {
    stdio: 'ignore',
  });
  keep(holder);
  const { pid } = holder;
  assert.ok(pid);
  await hasOwnNetwork(pid);
  // Not "ip netns exec": it mounts /sys anew and so hides the cgroups.
  const inside = ['nsenter', `--net=/proc/${pid}/ns/net`, '--'];
  const machine: Machine = { pid, inside, run: (...command) => runAtOnce([...inside, ...command]) };
  machine.run('ip', 'link', 'set', 'lo', 'up');
  return machine;
}

async function hasOwnNetwork(pid: number): Promise<void> {
  const own = readlinkSync('/proc/self/ns/net');
  const giveUpAt = performance.now() + 10_000;
  while (readlinkSync(`/proc/${pid}/ns/net`) === own) {
    assert.ok(performance.now() < giveUpAt, 'a network namespace of its own within ten seconds');
    await sleep(10);
  }
}

export function runAtOnce([program = '', ...args]: readonly string[]): void {
  execFileSync(program, args, { timeout: 10_000, stdio: ['ignore', 'ignore', 'pipe'] });
}

/** An engine that was killed leaves its mounts, and a folder with a mount cannot be removed. */
export function unmountBelow(folder: string): void {
  const places = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '');
  for (const place of places.toReversed())
    if (place.startsWith(`${folder}/`)) runAtOnce(['umount', '-l', place]);
}

/** This process's environment without settings of the person who runs the tests. */
export function plainEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(FLOTILLA_|PG|DATABASE_|NODE_TEST_|DOCKER_)/.test(name),
  );
  return Object.fromEntries([...kept, ['PATH', `${process.env.PATH}:/usr/sbin:/sbin`]]);
}
