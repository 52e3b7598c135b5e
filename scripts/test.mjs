// `npm test`: installs what the tests need, runs the folders one after another, and ends with one line of counts.
// Usage: node scripts/test.mjs [--fast] [FOLDER or FILE]...

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { fail, prepare, root } from './runtime.mjs';
import { installTestPackages } from './test-packages.mjs';

/**
 * One pass is one run of the test files in these folders. `postgres`: which PostgreSQL the tests' database support starts
 * (FLOTILLA_TEST_POSTGRES). `docker`: in a network namespace with a dockerd of its own; left out by --fast, as is `isSlow`.
 * `pooler`: some start a PgBouncer.
 */
/** Outages, races and floods, and the package: they wait or ask a great deal, and --fast leaves them out. */
const slowHttp = http(
  ...['clock', 'database', 'hub', 'malformed', 'scheduler', 'files'],
  ...['drain', 'paused-hub', 'paused-leader', 'pooler'],
  ...['node-loss', 'nodes', 'outage-loss', 'restore', 'package'],
);
/** The core: what meets the database in every way there is. */
const coreHttp = http('jobs', 'stop', 'scheduler', 'hub', 'replicas');

function http(...names) {
  return names.map((name) => `test/http/${name}.test.ts`);
}

const passes = [
  { name: 'pure', folders: ['src', 'test/tidy.test.ts'], concurrency: 2 },
  { name: 'embedded', folders: ['test/embedded'], concurrency: 2, isSlow: true },
  { name: 'http', folders: ['test/http'], except: slowHttp, postgres: 'embedded', concurrency: 2 },
  {
    name: 'http, outages and races',
    folders: slowHttp,
    postgres: 'embedded',
    pooler: true,
    concurrency: 2,
    isSlow: true,
  },
  {
    name: 'http, system PostgreSQL',
    folders: ['test/http'],
    // They run on that one in any case, or do not care.
    except: http('clock', 'pooler', 'paused-hub', 'outage-loss', 'package', 'sdk-routes', 'examples'),
    postgres: 'system',
    concurrency: 2,
    isSlow: true,
  },
  {
    name: 'http, behind a pooler',
    folders: coreHttp,
    postgres: 'pgbouncer',
    pooler: true,
    concurrency: 2,
    isSlow: true,
  },
  { name: 'agent', folders: ['test/agent'], postgres: 'embedded', docker: true, concurrency: 1 },
  { name: 'gateway', folders: ['test/gateway'], postgres: 'embedded', concurrency: 1, isSlow: true },
  { name: 'images', folders: ['test/images'], postgres: 'embedded', docker: true, concurrency: 1 },
  { name: 'isolation', folders: ['test/isolation'], postgres: 'embedded', docker: true, concurrency: 1 },
  { name: 'e2e', folders: ['test/e2e'], postgres: 'embedded', docker: true, pooler: true, concurrency: 1 },
  {
    // The agents' own tests need no database; these take agents, engine and server together.
    name: 'stop, system PostgreSQL',
    folders: ['test/e2e/stop.test.ts'],
    postgres: 'system',
    docker: true,
    concurrency: 1,
  },
  { name: 'chaos', folders: ['test/chaos'], docker: true, concurrency: 1 },
  { name: 'simulation', folders: ['test/simulation'], postgres: 'embedded', concurrency: 2, isSlow: true },
];
const passLimitMs = 20 * 60_000;

main();

function main() {
  const isFast = process.argv.includes('--fast');
  const chosen = process.argv.slice(2).filter((argument) => argument !== '--fast');
  const planned = passes
    .filter((pass) => !(isFast && (pass.docker || pass.isSlow)))
    .map((pass) => ({
      ...pass,
      files: pass.folders
        .flatMap(findTests)
        .filter((file) => !pass.except?.includes(relative(root, file)) && isChosen(file, chosen)),
    }))
    .filter((pass) => pass.files.length > 0);
  if (planned.length === 0) fail(`There are no test files in ${chosen.join(', ') || 'any folder'}.`);
  const node = prepare();
  installTestPackages({
    withDocker: isRoot() && planned.some((pass) => pass.docker),
    withPooler: planned.some((pass) => pass.pooler),
  });
  report(planned.map((pass) => runPass(node, pass)));
}

function findTests(path) {
  const full = join(root, path);
  if (!existsSync(full)) return [];
  if (statSync(full).isFile()) return [full];
  const entries = readdirSync(full, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  return entries.flatMap((entry) => {
    if (entry.isDirectory()) return findTests(join(path, entry.name));
    return entry.name.endsWith('.test.ts') ? [join(full, entry.name)] : [];
  });
}

function isChosen(file, chosen) {
  return (
    chosen.length === 0 ||
    chosen.some((path) => file === resolve(path) || file.startsWith(`${resolve(path)}/`))
  );
}

function runPass(node, pass) {
  if (pass.docker && !isRoot()) return skipPass(pass);
  console.log(`\n${pass.name}: ${pass.files.length} files`);
  const place = mkdtempSync(join(tmpdir(), 'flotilla-test-'));
  const startedAt = Date.now();
  try {
    const status = spawnTests(node, pass, join(place, 'counts.json'));
    const counts = readCounts(join(place, 'counts.json'), status);
    const result = { ...pass, ...counts, seconds: (Date.now() - startedAt) / 1000 };
    console.log(`${pass.name}: ${describe(result)}, ${result.seconds.toFixed(1)} s`);
    return result;
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

/** Counted by file, since its tests cannot be counted without running it. */
function skipPass(pass) {
  console.log(
    `\n${pass.name}: ${pass.files.length} files skipped, because a dockerd of their own needs root`,
  );
  return { ...pass, passed: 0, failed: 0, skipped: pass.files.length, seconds: 0 };
}

function spawnTests(node, pass, countsFile) {
  const count = [join(root, 'scripts', 'count-tests.mjs'), countsFile, String(pass.concurrency)];
  const command = [node, ...count, ...pass.files];
  if (pass.docker) command.unshift(join(root, 'scripts', 'with-docker.sh'));
  const { status, signal, error } = spawnSync(command[0], command.slice(1), {
    cwd: root,
    env: testEnvironment(pass),
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: passLimitMs,
  });
  if (status === null) console.log(`${pass.name}: ended by ${error?.message ?? signal}`);
  return status;
}

/** Settings of the person who runs the tests must not reach the server under test. */
function testEnvironment(pass) {
  const kept = Object.entries(process.env).filter(
    ([name]) =>
      !/^(FLOTILLA_|PG[A-Z]+$|DATABASE_|DOCKER_|NODE_OPTIONS$|NODE_TEST_CONTEXT$)/.test(name) ||
      /^FLOTILLA_TEST_/.test(name),
  );
  const own = pass.postgres === undefined ? {} : { FLOTILLA_TEST_POSTGRES: pass.postgres };
  return { ...Object.fromEntries(kept), ...own };
}

/** A run that ended badly without a failed test, or in which nothing ran, is a failure of its own. */
function readCounts(file, status) {
  const counts = existsSync(file)
    ? JSON.parse(readFileSync(file, 'utf8'))
    : { passed: 0, failed: 0, skipped: 0 };
  const isSilent = counts.passed + counts.failed + counts.skipped === 0;
  if (isSilent) console.log('no test ran here');
  return isSilent || (status !== 0 && counts.failed === 0)
    ? { ...counts, failed: counts.failed + 1 }
    : counts;
}

function describe({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

function report(results) {
  const sum = (key) => results.reduce((total, result) => total + result[key], 0);
  console.log('\nfolder                        seconds  files');
  for (const { name, seconds, files } of results) {
    console.log(`${name.padEnd(28)} ${seconds.toFixed(1).padStart(8)} ${String(files.length).padStart(6)}`);
  }
  console.log(`${'in all'.padEnd(28)} ${sum('seconds').toFixed(1).padStart(8)}\n`);
  for (const { name, failed } of results.filter((result) => result.failed > 0)) {
    console.log(`failed: ${failed} in ${name} (npm test -- ${failedFolders(name)})`);
  }
  console.log(describe({ passed: sum('passed'), failed: sum('failed'), skipped: sum('skipped') }));
  process.exit(sum('failed') === 0 ? 0 : 1);
}

function failedFolders(name) {
  const pass = passes.find((candidate) => candidate.name === name);
  return pass.folders.map((folder) => relative(root, join(root, folder))).join(' ');
}

function isRoot() {
  return process.getuid() === 0;
}
