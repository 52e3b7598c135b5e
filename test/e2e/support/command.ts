// A `flotilla` command as a process of its own, in a process group of its own, with what it printed.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { eventually } from './eventually.ts';

export const mainFile = resolve(import.meta.dirname, '../../../src/main.ts');

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  output: string;
}

export interface Command {
  pid: number;
  /** Standard output and standard error together, so far. */
  output(): string;
  /** The first match in the output; fails when the command ends without it. */
  until(pattern: RegExp): Promise<RegExpExecArray>;
  ended: Promise<Ended>;
  hasEnded(): boolean;
  /** To the process alone. */
  signal(name: NodeJS.Signals): void;
  /** To its whole process group, as a terminal does. */
  signalGroup(name: NodeJS.Signals): void;
}

export function startCommand(args: readonly string[], env: Record<string, string> = {}): Command {
  const child = spawn(process.execPath, [mainFile, ...args], {
    env: { ...plainEnvironment(), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const { pid } = child;
  assert.ok(pid, 'the command was started');
  const printed = collect(child);
  let ended: Ended | undefined;
  const end = new Promise<Ended>((resolveEnd) => {
    child.on('close', (code, signal) => {
      ended = { code, signal, output: printed.text };
      resolveEnd(ended);
    });
  });
  return {
    pid,
    output: () => printed.text,
    ended: end,
    hasEnded: () => ended !== undefined,
    signal: (name) => void child.kill(name),
    signalGroup: (name) => process.kill(-pid, name),
    until: (pattern) =>
      eventually(`${pattern} in the output of flotilla ${args.join(' ')}`, async () => {
        const match = pattern.exec(printed.text);
        if (match === null && ended !== undefined)
          assert.fail(`flotilla ${args.join(' ')} ended with ${ended.code} and said:\n${printed.text}`);
        return match;
      }),
  };
}

/** Runs a command to its end. */
export async function runCommand(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  const command = startCommand(args, env);
  const timer = setTimeout(() => command.signal('SIGKILL'), 60_000);
  try {
    return await command.ended;
  } finally {
    clearTimeout(timer);
  }
}

function collect(child: ChildProcess): { text: string } {
  const printed = { text: '' };
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      printed.text += text;
    });
  }
  return printed;
}

/** Settings of the person who runs the tests must not reach the program. */
function plainEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(FLOTILLA_|PG|DATABASE_|NODE_TEST_)/.test(name),
  );
  return Object.fromEntries(kept);
}
