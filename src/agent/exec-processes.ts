// Ends a program that was started beside a container's main one; no engine call does that, so it is done by process id.
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

interface ProcessId {
  pid: number;
  /** With the pid it names one process for good: pids are given out again. */
  startTicks: string;
}

const hangUpMs = 2_000;
const lookEveryMs = 50;

/**
 * Hangs up on the whole session of `leaderPid`, then kills what is left of it. Only processes in the container's own cgroup
 * are touched, so a pid that is of another machine or of another program by now ends nothing.
 */
export async function endSession(leaderPid: number, containerId: string): Promise<void> {
  const first = await sessionMembers(leaderPid, containerId);
  let left = first;
  signalAll(left, 'SIGHUP');
  const giveUpAt = performance.now() + hangUpMs;
  while (left.length > 0 && performance.now() < giveUpAt) {
    await sleep(lookEveryMs);
    left = await stillThere(first, { leaderPid, containerId });
  }
  signalAll(left, 'SIGKILL');
}

/** Nothing once all that were seen first are gone: the session's number may then be another's. */
async function stillThere(
  first: readonly ProcessId[],
  { leaderPid, containerId }: { leaderPid: number; containerId: string },
): Promise<ProcessId[]> {
  const now = await sessionMembers(leaderPid, containerId);
  const known = new Set(first.map(identity));
  return now.some((process) => known.has(identity(process))) ? now : [];
}

async function sessionMembers(leaderPid: number, containerId: string): Promise<ProcessId[]> {
  const names = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  const read = await Promise.all(names.map((name) => memberOf(Number(name), leaderPid, containerId)));
  return read.filter((process) => process !== null);
}

async function memberOf(pid: number, leaderPid: number, containerId: string): Promise<ProcessId | null> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The name in brackets may hold anything; the fields after it are state, ppid, pgrp, session, … (proc_pid_stat(5)).
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const isMember = fields[0] !== 'Z' && Number(fields[3]) === leaderPid;
    if (!isMember || !(await readFile(`/proc/${pid}/cgroup`, 'utf8')).includes(containerId)) return null;
    return { pid, startTicks: fields[19] ?? '' };
  } catch {
    return null;
  }
}

function identity({ pid, startTicks }: ProcessId): string {
  return `${pid} ${startTicks}`;
}

function signalAll(processes: readonly ProcessId[], signal: NodeJS.Signals): void {
  for (const { pid } of processes) {
    try {
      process.kill(pid, signal);
    } catch {
      // It has ended meanwhile, or belongs to a user that this agent may not signal.
    }
  }
}
