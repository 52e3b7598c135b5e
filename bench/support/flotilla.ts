// Starts Flotilla as its users do, in a process of its own, and gives the key that its first start made.
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Client, createClient } from '../../src/sdk/client.ts';
import type { SigningKey } from '../../src/sdk/sign.ts';
import type { Workspace } from './workspace.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const startLimitMs = 60_000;

export interface Flotilla {
  child: ChildProcess;
  pid: number;
  url: string;
  key: SigningKey;
  client: Client;
}

/** `server`: API, scheduler and hub on a database of the run. */
export function startServer(workspace: Workspace, databaseUrl: string): Promise<Flotilla> {
  return start(workspace, { command: ['server'], databaseUrl, announced: /The admin key/ });
}

/** `up`: the embedded PostgreSQL and a local node on the engine as well. */
export function startUp(workspace: Workspace, engineSocket: string): Promise<Flotilla> {
  return start(workspace, {
    command: ['up', '--no-hello', '--docker-socket', engineSocket],
    databaseUrl: null,
    announced: /Flotilla is up/,
  });
}

async function start(
  workspace: Workspace,
  options: { command: string[]; databaseUrl: string | null; announced: RegExp },
): Promise<Flotilla> {
  const folder = workspace.newFolder('data');
  const { DATABASE_URL: _, ...environment } = process.env;
  const profile = process.env.FLOTILLA_BENCH_PROFILE;
  const flags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
  const args = [...flags, join(root, 'src/main.ts'), ...options.command, '--port', '0', '--data-dir', folder];
  const child = spawn(process.execPath, args, {
    cwd: folder,
    env: { ...environment, ...(options.databaseUrl === null ? {} : { DATABASE_URL: options.databaseUrl }) },
    stdio: ['ignore', 'pipe', 'pipe'],
    // Of its own group, so that Ctrl-C reaches us first and we end things in order.
    detached: true,
  });
  workspace.track(child);
  await announcement(child, { pattern: options.announced, logFile: join(folder, 'output.log') });
  const file = readFileSync(join(folder, 'admin-key.json'), 'utf8');
  const { url, public_key, secret_key } = JSON.parse(file) as Record<
    'url' | 'public_key' | 'secret_key',
    string
  >;
  const key = { publicKey: public_key, secretKey: secret_key };
  return { child, pid: child.pid ?? 0, url, key, client: createClient({ url, ...key }) };
}

/** Waits for the line that says it is ready; its output goes on into the log file. */
function announcement(child: ChildProcess, options: { pattern: RegExp; logFile: string }): Promise<void> {
  const log = createWriteStream(options.logFile);
  let text = '';
  return new Promise((resolve, reject) => {
    const fail = (reason: string) =>
      reject(new Error(`Flotilla did not start (${reason}): ${text.slice(-2_000)}`));
    const timer = setTimeout(() => fail(`nothing in ${startLimitMs / 1000} s`), startLimitMs);
    const read = (chunk: Buffer) => {
      log.write(chunk);
      if (text.length > 100_000) return;
      text += chunk.toString();
      if (!options.pattern.test(text)) return;
      clearTimeout(timer);
      resolve();
    };
    child.stdout?.on('data', read);
    child.stderr?.on('data', read);
    child.on('exit', (code) => {
      clearTimeout(timer);
      fail(`exit code ${code}`);
    });
  });
}
