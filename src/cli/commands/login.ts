// `flotilla login` and `flotilla logout`: a session of this person on this machine, which every command then uses.
import { spawn } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Command } from 'commander';
// Types only: the schema library would make every command slower to start.
import type { SessionTokens } from '../../protocol/sign-in.ts';
import { createClient } from '../../sdk/client.ts';
import { endSession, sessionForCode } from '../../sdk/sign-in.ts';
import type { Cli } from '../cli.ts';
import { findKeyConnection, findServer, sessionFileOf } from '../connection.ts';
import { UsageError } from '../errors.ts';
import type { Io } from '../io.ts';
import { beginBrowserSignIn } from '../loopback.ts';
import { type ApiFlags, withConnectionOptions } from '../options.ts';
import { printLines } from '../output.ts';
import { readSessionFile, writeSessionFile } from '../session-file.ts';

interface LoginFlags extends ApiFlags {
  withKey?: true;
  browser: boolean;
}

/** As long as the server keeps the sign-in. */
const patienceMs = 10 * 60_000;

export function addLoginCommands(program: Command, cli: Cli) {
  const login = program
    .command('login')
    .summary('sign in for the commands that follow')
    .description(
      'Signs you in by the OpenID Connect provider of the server, in a browser of this machine, or with --with-key by ' +
        'an API key. The commands that follow act as you until "flotilla logout".',
    )
    .option('--with-key', 'sign in with the API key that commands use otherwise')
    .option('--no-browser', 'open no browser, only print where to go')
    .addHelpText(
      'after',
      '\nExamples:\n  flotilla login --url https://flotilla.example\n  flotilla login --with-key --key-file ci.json' +
        '\n\nThe browser must run on this machine: elsewhere, forward the port that the printed address names (ssh -L).',
    );
  withConnectionOptions(login).action((flags: LoginFlags) => signIn(cli, flags));
  program
    .command('logout')
    .summary('end the session of "flotilla login"')
    .description('Ends the session at the server, with every token of it, and forgets it here.')
    .action(() => signOut(cli));
}

async function signIn(cli: Cli, flags: LoginFlags) {
  const { url, ca, tokens } = flags.withKey ? await byKey(cli.io, flags) : await byBrowser(cli.io, flags);
  const file = sessionFileOf(cli.io);
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await writeSessionFile(file, { url, ca, tokens });
  printLines(cli.io.stdout, [
    `Signed in at ${url}, account ${tokens.account_uuid}.`,
    `Commands use this session until "flotilla logout" (kept in ${file}).`,
  ]);
}

async function byKey(io: Io, flags: LoginFlags) {
  const connection = await findKeyConnection(io, flags);
  const client = createClient(connection);
  try {
    return { url: connection.url, ca: connection.ca ?? null, tokens: await client.signIn() };
  } finally {
    client.close();
  }
}

async function byBrowser(io: Io, flags: LoginFlags) {
  const { url, ca } = await findServer(io, flags);
  const interrupted = new AbortController();
  const forget = io.onInterrupt(() => interrupted.abort());
  const signal = AbortSignal.any([interrupted.signal, AbortSignal.timeout(patienceMs)]);
  const way = await beginBrowserSignIn(url, signal);
  try {
    printLines(io.stderr, ['Sign in here:', `  ${way.url}`]);
    if (flags.browser && io.stderr.isTTY) openBrowser(way.url);
    const code = await way.code;
    const tokens: SessionTokens = await sessionForCode({ url, ca }, { code, verifier: way.verifier });
    return { url, ca: ca ?? null, tokens };
  } finally {
    way.close();
    forget();
  }
}

/** Best effort: the address is on the screen. */
function openBrowser(url: string): void {
  const opener = process.platform === 'darwin' ? 'open' : 'xdg-open';
  const child = spawn(opener, [url], { stdio: 'ignore', detached: true });
  child.on('error', () => {});
  child.unref();
}

async function signOut({ io }: Cli) {
  const file = sessionFileOf(io);
  const session = await readSessionFile(file);
  if (session === null) throw new UsageError('You are not signed in on this machine.');
  const { url, ca, tokens } = session;
  // Forgotten here first, so that it is whatever the server says.
  await rm(file, { force: true });
  await endSession({ url, ...(ca === null ? {} : { ca }) }, tokens.refresh_token);
  printLines(io.stdout, [`Signed out of ${url}.`]);
}
