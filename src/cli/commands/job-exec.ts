// `flotilla job exec`: a program in the container of a running job, with a terminal where there is one.
import { spawnSync } from 'node:child_process';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import type { Client } from '../../sdk/client.ts';
import { CommandNotRun, type Exec } from '../../sdk/exec.ts';
import type { Cli } from '../cli.ts';
import { exitCodes } from '../exit-code.ts';
import { type RawStreams, rawStreams } from '../io.ts';
import { type ConnectionFlags, withConnectionOptions } from '../options.ts';
import { printLines } from '../output.ts';
import { resolveJob, runInUse } from '../resolve.ts';
import { onOneLine } from '../text-width.ts';

interface ExecFlags extends ConnectionFlags {
  run?: string;
  interactive?: true;
  tty?: boolean;
}

const help = `
The exit code is that of the program; 126 and 127 say that it could not be run or is not there. With a terminal every
key goes to the program, Ctrl-C too. When the connection ends, so does the program.

Examples:
  flotilla job exec UUID
  flotilla job exec UUID -- ls -l /results
  flotilla job exec -i UUID -- tar x -C /data <data.tar`;

export function addJobExec(job: Command, cli: Cli) {
  const command = job
    .command('exec')
    .description('Runs a program in the container of a running job; without one, a shell.')
    .argument('<job>', 'uuid, or the start of a recent one')
    .argument('[command...]', 'after --: program and arguments (default sh)')
    .option('-i, --interactive', 'pass standard input on; always so with a terminal')
    .option('-t, --tty', 'a terminal for the program (default: where input and output are one)')
    .option('-T, --no-tty', 'no terminal')
    .option('--run <run>', 'uuid of a run, or its attempt: 1, 2, …')
    .addHelpText('after', help);
  withConnectionOptions(command).action((reference: string, words: string[], flags: ExecFlags) =>
    cli.withClient(flags, (client) => exec(cli, client, { reference, words, flags })),
  );
}

async function exec(
  cli: Cli,
  client: Client,
  { reference, words, flags }: { reference: string; words: string[]; flags: ExecFlags },
) {
  const streams = rawStreams();
  const isTty = flags.tty ?? (streams.stdin.isTTY && streams.stdout.isTTY);
  const run = await runInUse(client, await resolveJob(client, reference), flags.run);
  const running = await client.runs.exec(run.uuid, {
    command: words.length > 0 ? words : ['sh'],
    tty: isTty,
    ...(isTty ? sizeOf(streams) : {}),
  });
  const hasInput = isTty || flags.interactive === true || words.length === 0;
  try {
    cli.exitCode = await attach(running, { streams, isTty, hasInput });
  } catch (error) {
    if (!(error instanceof CommandNotRun)) throw error;
    printLines(cli.io.stderr, [`flotilla: ${onOneLine(error.message)}`]);
    cli.exitCode = error.exitCode;
  }
}

interface Attached {
  streams: RawStreams;
  isTty: boolean;
  hasInput: boolean;
}

/** Joins the program to our own streams until it has ended; the terminal is as before in every case. */
async function attach(running: Exec, { streams, isTty, hasInput }: Attached): Promise<number> {
  const { stdin, stdout, stderr } = streams;
  const release = isTty ? holdTerminal(running, streams) : () => {};
  const signals = closeOnSignals(running);
  try {
    if (hasInput) stdin.pipe(running.stdin);
    else running.stdin.end();
    await Promise.all([
      pipeline(running.stdout, stdout, { end: false }),
      pipeline(running.stderr, stderr, { end: false }),
    ]);
    return (await running.exitCode) ?? exitCodes.other;
  } catch (error) {
    if (signals.exitCode !== null) return signals.exitCode;
    throw error;
  } finally {
    release();
    signals.forget();
    running.close();
    stdin.unpipe(running.stdin);
    // Else an open input keeps this process alive.
    stdin.destroy();
  }
}

/** The program's terminal has the size of ours, and ours hands on what it is given. Returns the way back. */
function holdTerminal(running: Exec, streams: RawStreams): () => void {
  const { stdout } = streams;
  const resize = () => {
    const { cols, rows } = sizeOf(streams);
    if (cols !== undefined && rows !== undefined) running.resize({ cols, rows });
  };
  const restore = makeRaw(streams.stdin);
  stdout.on('resize', resize);
  process.once('exit', restore);
  // It may have changed between the request and now.
  resize();
  return () => {
    stdout.off('resize', resize);
    process.off('exit', restore);
    restore();
  };
}

/** Keys and output go through as they are. Returns the way back. */
function makeRaw(stdin: NodeJS.ReadStream): () => void {
  if (!stdin.isTTY) return () => {};
  const before = stty('-g');
  stdin.setRawMode(true);
  // Node's raw mode still makes CR LF of every LF; programs that draw on the screen mean LF alone.
  stty('-opost');
  return () => {
    stdin.setRawMode(false);
    if (before !== null) stty(before);
  };
}

/** What it prints; null where there is none, which costs no more than the above. */
function stty(setting: string): string | null {
  const { status, stdout } = spawnSync('stty', [setting], {
    stdio: ['inherit', 'pipe', 'ignore'],
    timeout: 2_000,
  });
  return status === 0 ? stdout.toString().trim() : null;
}

function sizeOf({ stdout }: RawStreams): { cols?: number; rows?: number } {
  const { columns, rows } = stdout;
  return columns > 0 && rows > 0 ? { cols: columns, rows } : {};
}

const signalCodes = { SIGINT: exitCodes.interrupted, SIGTERM: 143, SIGHUP: 129 } as const;

/** The program ends with us. `exitCode` is null until a signal came. */
function closeOnSignals(running: Exec): { exitCode: number | null; forget(): void } {
  const names = Object.keys(signalCodes) as (keyof typeof signalCodes)[];
  const close = (name: NodeJS.Signals) => {
    state.exitCode = signalCodes[name as keyof typeof signalCodes];
    running.close();
  };
  const state = {
    exitCode: null as number | null,
    forget: () => {
      for (const name of names) process.off(name, close);
    },
  };
  for (const name of names) process.on(name, close);
  return state;
}
