// Debian packages that the tests' container images are unpacked from, downloaded once and kept outside of the clone.
// Usage: node scripts/image-packages.mjs   prints the folder that holds them.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fail } from './runtime.mjs';

const programs = [
  'bash',
  'nginx',
  'openssh-client',
  'openssh-server',
  'openssh-sftp-server',
  'python3-minimal',
  'sudo',
];
/** Of what the programs depend on, only libraries and Python itself go into an image. */
const used = /^z?lib|^python3\.\d+-minimal$/;
/** Libraries of package configuration, awk and Perl. */
const unused =
  /-perl$|-common$|^lib(perl|debian|elogind|newt|slang|mpfr|gmp|sigsegv|readline|gdbm|semanage|sepol)/;
const downloadLimitMs = 5 * 60_000;

/** Downloads what is not there yet, and returns the folder. Needs apt, and the network at the first time. */
export function downloadImagePackages() {
  const folder = packagesFolder();
  if (existsSync(folder)) return folder;
  mkdirSync(dirname(folder), { recursive: true });
  const place = mkdtempSync(join(dirname(folder), 'download-'));
  try {
    if (!download(place)) {
      apt('apt-get', ['-qq', 'update'], { cwd: place });
      if (!download(place)) fail(`The packages of the test images cannot be downloaded: ${missing(place)}`);
    }
    // Another test run may have been faster: its folder is as good.
    if (!existsSync(folder)) renameSync(place, folder);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
  return folder;
}

function packagesFolder() {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  const key = createHash('sha256')
    .update(JSON.stringify([readFileSync(fileURLToPath(import.meta.url), 'utf8'), release, process.arch]))
    .digest('hex')
    .slice(0, 12);
  const cache = process.getuid() === 0 ? '/var/cache/flotilla-test' : join(tmpdir(), 'flotilla-test');
  return join(cache, `packages-${key}`);
}

/** False when the lists of packages are absent or older than the archive. */
function download(place) {
  const names = withLibraries();
  return (
    names.length > programs.length &&
    apt('apt-get', ['-qq', '-o', 'APT::Sandbox::User=root', 'download', ...names], { cwd: place }) !== null &&
    readdirSync(place).filter((name) => name.endsWith('.deb')).length === names.length
  );
}

function withLibraries() {
  const kinds = ['recommends', 'suggests', 'conflicts', 'breaks', 'replaces', 'enhances'];
  const listed = apt('apt-cache', [
    'depends',
    '--recurse',
    ...kinds.map((kind) => `--no-${kind}`),
    ...programs,
  ]);
  const libraries = (listed ?? '').split('\n').filter((name) => used.test(name) && !unused.test(name));
  // A name alone may be of a virtual package, which cannot be downloaded.
  const shown = apt('apt-cache', ['show', '--no-all-versions', ...libraries]) ?? '';
  const real = [...shown.matchAll(/^Package: (.+)$/gm)].map(([, name]) => name);
  return [...new Set([...programs, ...real])];
}

function missing(place) {
  const tried = spawnSync('apt-get', ['-o', 'APT::Sandbox::User=root', 'download', ...programs], {
    cwd: place,
    encoding: 'utf8',
    timeout: downloadLimitMs,
  });
  return tried.error?.message ?? tried.stderr.trim();
}

function apt(program, args, { cwd } = {}) {
  const { status, stdout } = spawnSync(program, args, {
    cwd,
    env: { ...process.env, LC_ALL: 'C' },
    encoding: 'utf8',
    timeout: downloadLimitMs,
    maxBuffer: 64 * 1024 * 1024,
  });
  return status === 0 ? stdout : null;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(downloadImagePackages());
