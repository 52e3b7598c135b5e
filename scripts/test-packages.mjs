// Debian packages that the tests need beyond what `npm start` installs, and those that their container images are made of.

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { downloadImagePackages } from './image-packages.mjs';
import { fail } from './runtime.mjs';

const aptLimitMs = 10 * 60_000;

const needs = [
  {
    packages: ['docker.io', 'iptables'],
    isMet: () => hasProgram('dockerd') && hasProgram('iptables'),
    forDocker: true,
  },
  { packages: ['iproute2'], isMet: () => hasProgram('ip'), forDocker: true },
  {
    packages: ['docker-registry', 'apache2-utils'],
    isMet: () => hasProgram('docker-registry') && hasProgram('htpasswd'),
    forDocker: true,
  },
  { packages: ['busybox-static'], isMet: () => isInstalled('busybox-static'), forDocker: true },
  { packages: ['openssh-client'], isMet: () => hasProgram('ssh'), forDocker: true },
  { packages: ['curl'], isMet: () => hasProgram('curl'), forDocker: true },
  { packages: ['postgresql'], isMet: hasPostgres, forDocker: false },
  { packages: ['libfaketime'], isMet: () => isInstalled('libfaketime'), forDocker: false },
  { packages: ['pgbouncer'], isMet: () => hasProgram('pgbouncer'), forDocker: false, forPooler: true },
];

/** As root on Debian or Ubuntu: installs what is missing; elsewhere prints the command and ends. */
export function installTestPackages({ withDocker, withPooler = false }) {
  const wanted = needs.filter(
    (need) => (withDocker || !need.forDocker) && (withPooler || !need.forPooler) && !need.isMet(),
  );
  install(wanted.flatMap((need) => need.packages));
  // Debian 13 and later pack the docker command apart.
  if (withDocker && !hasProgram('docker')) install(['docker-cli']);
  if (withDocker) downloadImagePackages();
}

function install(packages) {
  if (packages.length === 0) return;
  const command = `apt-get update && apt-get install -y --no-install-recommends ${packages.join(' ')}`;
  if (process.getuid() !== 0 || !hasProgram('apt-get'))
    fail(`The tests need ${packages.join(', ')}. As root, run: ${command}`);
  console.log(`installing ${packages.join(' ')} for the tests ...`);
  const startedAt = Date.now();
  apt(['-qq', 'update']);
  apt(['-qq', 'install', '-y', '--no-install-recommends', ...packages]);
  console.log(`installed ${packages.join(' ')} in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
}

function apt(args) {
  const { status, stdout, stderr } = spawnSync('apt-get', args, {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    timeout: aptLimitMs,
  });
  if (status !== 0) fail(`apt-get ${args.join(' ')} failed:\n${stdout}${stderr}`);
}

function hasProgram(name) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.some((folder) => existsSync(join(folder, name)));
}

function isInstalled(name) {
  const { stdout } = spawnSync('dpkg-query', ['-W', '-f', '${Status}', name], {
    encoding: 'utf8',
    timeout: 10_000,
  });
  return stdout === 'install ok installed';
}

/** PostgreSQL 15 on Debian 12; a newer one serves on a newer system. */
function hasPostgres() {
  const folder = '/usr/lib/postgresql';
  if (!existsSync(folder)) return false;
  return readdirSync(folder).some(
    (major) => Number(major) >= 15 && existsSync(join(folder, major, 'bin', 'initdb')),
  );
}
