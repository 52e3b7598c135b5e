// What every command of this clone needs first: locked dependencies and a Node.js that runs TypeScript. Runs on Node 18.

import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const oldestNode = [22, 18];
const installLimitMs = 15 * 60_000;

/** Installs what is missing and returns the path of the Node.js to run with. */
export function prepare() {
  installLocked({ folder: root, what: 'dependencies' });
  if (isNewEnough(process.versions.node)) return process.execPath;
  installLocked({
    folder: join(root, 'runtime'),
    what: `Node.js for Flotilla (this one is ${process.version})`,
  });
  const node = join(
    root,
    'runtime',
    'node_modules',
    `node-${process.platform}-${process.arch}`,
    'bin',
    'node',
  );
  if (existsSync(node)) return node;
  return fail(
    `There is no bundled Node.js for ${process.platform}-${process.arch}; install Node.js 22.18 or newer.`,
  );
}

/** Runs a program in the foreground and ends this process as it ended. */
export function runAndExit(command, args, options = {}) {
  const child = spawn(command, args, { stdio: 'inherit', ...options });
  // A terminal sends Ctrl-C to the child too; a second one from here could mean "at once" to it.
  process.on('SIGINT', () => process.stdin.isTTY || process.stdout.isTTY || child.kill('SIGINT'));
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  endWithNpm(child);
  child.on('error', (error) => fail(`Cannot run ${command}: ${error.message}`));
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}

/** npm passes no SIGTERM on: when npm itself was ended, its program must not run on unseen. */
function endWithNpm(child) {
  if (process.env.npm_lifecycle_event === undefined) return;
  const npm = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === npm) return;
    clearInterval(timer);
    child.kill('SIGTERM');
  }, 250);
  timer.unref();
}

/** One sentence, exit code 1. */
export function fail(sentence) {
  console.error(sentence);
  process.exit(1);
}

function isNewEnough(version) {
  const [major, minor] = version.split('.').map(Number);
  return major > oldestNode[0] || (major === oldestNode[0] && minor >= oldestNode[1]);
}

function installLocked({ folder, what }) {
  const lock = createHash('sha256')
    .update(readFileSync(join(folder, 'package-lock.json')))
    .digest('hex');
  const marker = join(folder, 'node_modules', '.flotilla-lock');
  if (existsSync(marker) ? readFileSync(marker, 'utf8') === lock : isInstalledByHand(folder)) return;
  const modules = join(folder, 'node_modules');
  if (lstatSync(modules, { throwIfNoEntry: false })?.isSymbolicLink()) {
    // npm would empty the folder behind the link.
    fail(
      `${modules} is a symbolic link and not what package-lock.json asks for; remove the link and start again.`,
    );
  }
  console.error(`installing ${what} ...`);
  const startedAt = Date.now();
  const { status, error, signal } = npmCi(folder);
  if (status !== 0) {
    const reason = error?.message ?? (signal === null ? `exit code ${status}` : `signal ${signal}`);
    fail(`Installing ${what} failed (${reason}); see npm's lines above, then run "npm ci" in ${folder}.`);
  }
  writeFileSync(marker, lock);
  console.error(`installed ${what} in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
}

/** npm writes its own record last; newer than the lock file means that it was made from it. */
function isInstalledByHand(folder) {
  const record = statSync(join(folder, 'node_modules', '.package-lock.json'), { throwIfNoEntry: false });
  return record !== undefined && record.mtimeMs >= statSync(join(folder, 'package-lock.json')).mtimeMs;
}

function npmCi(folder) {
  const npm = process.env.npm_execpath;
  const [command, first] = npm?.endsWith('.js') ? [process.execPath, [npm]] : ['npm', []];
  const flags = [
    '--ignore-scripts',
    '--include=dev',
    '--include=optional',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
  ];
  return spawnSync(command, [...first, 'ci', ...flags], {
    cwd: folder,
    env: withoutNpmRun(process.env),
    stdio: ['ignore', 2, 2],
    timeout: installLimitMs,
  });
}

/** `npm start` hands its own project down to children; the npm in runtime/ must not take it for its own. */
function withoutNpmRun(env) {
  const isOfRun = (name) =>
    /^npm_(package_|lifecycle_|command$|config_local_prefix$|config_prefix$)/.test(name);
  return Object.fromEntries(Object.entries(env).filter(([name]) => !isOfRun(name)));
}
