// Images like the reference's, made offline from Debian packages: test/ssh-base:1 and test/access-token:1; and test/echo:1.
import { execFileSync } from 'node:child_process';
import { hash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { duser, rootFiles } from './root-files.ts';

/** User duser, sudo for sshd and nginx, host keys made at start; sshd runs when SSH_PUBKEY is set. */
export const sshBaseImage = { image: 'test/ssh-base', tag: '1' };
/** The same with an API behind HTTP basic auth on port 5000: duser and CONTAINER_ACCESS_TOKEN. */
export const accessTokenImage = { image: 'test/access-token', tag: '1' };
/** Servers for bytes: HTTP and WebSocket on port 8000, TCP echo on 9000. See echo.py. */
export const echoImage = { image: 'test/echo', tag: '1' };

const limitMs = 120_000;
const downloadScript = resolve(import.meta.dirname, '../../../scripts/image-packages.mjs');
const unneeded = ['doc', 'man', 'locale', 'info', 'lintian', 'bug', 'bash-completion'];

/** Makes them known to the engine at this DOCKER_HOST, in about 1.5 s; the file tree is built once and kept. */
export function importReferenceImages(dockerHost = process.env.DOCKER_HOST): void {
  const env = { ...process.env, ...(dockerHost === undefined ? {} : { DOCKER_HOST: dockerHost }) };
  const docker = (args: readonly string[], input?: string) =>
    execFileSync('docker', args, {
      env: { ...env, DOCKER_BUILDKIT: '0' },
      timeout: limitMs,
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(input === undefined ? {} : { input }),
    });
  const base = `${sshBaseImage.image}:${sshBaseImage.tag}`;
  const settings = [
    'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    `USER ${duser.name}`,
    `WORKDIR ${duser.home}`,
    'EXPOSE 22 5000',
    'ENTRYPOINT ["/entrypoint.sh"]',
    'CMD ["sleep", "infinity"]',
  ];
  docker(['import', ...settings.flatMap((setting) => ['-c', setting]), treeArchive(), base]);
  const derive = ({ image, tag }: typeof sshBaseImage, settings: string) =>
    docker(['build', '-q', '-t', `${image}:${tag}`, '-'], `FROM ${base}\n${settings}\nCMD []\n`);
  derive(accessTokenImage, 'ENTRYPOINT ["/entrypoint-token.sh"]');
  derive(echoImage, 'EXPOSE 8000 9000\nENTRYPOINT ["python3", "/echo.py"]');
}

/** A tar of the images' file tree, named after what it is made of. */
function treeArchive(): string {
  const packages = packagesFolder();
  const names = readdirSync(packages).sort();
  const recipe = JSON.stringify([names, rootFiles, readFileSync(import.meta.filename, 'utf8')]);
  const archive = join(dirname(packages), `tree-${hash('sha256', recipe, 'hex').slice(0, 12)}.tar`);
  if (existsSync(archive)) return archive;
  const place = mkdtempSync(join(dirname(packages), 'build-'));
  try {
    const tree = join(place, 'tree');
    layFolders(tree);
    for (const name of names) unpack(join(packages, name), tree);
    linkBusybox(tree);
    for (const file of rootFiles) writeRootFile(tree, file);
    giveHome(tree);
    execFileSync('tar', ['--numeric-owner', '-C', tree, '-cf', join(place, 'tree.tar'), '.'], {
      timeout: limitMs,
    });
    renameSync(join(place, 'tree.tar'), archive);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
  return archive;
}

/** Downloaded before by `npm test`; in a namespace without network only what is there already can be used. */
function packagesFolder(): string {
  return execFileSync(process.execPath, [downloadScript], {
    encoding: 'utf8',
    timeout: 10 * limitMs,
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
}

/** /bin, /lib and the others are links into /usr before any package is unpacked, as on every present Debian. */
function layFolders(tree: string): void {
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    mkdirSync(join(tree, 'usr', name), { recursive: true });
    symlinkSync(`usr/${name}`, join(tree, name));
  }
  for (const name of ['dev', 'proc', 'sys', 'root', 'run/sshd', 'var/lib', 'var/log', 'etc/sudoers.d'])
    mkdirSync(join(tree, name), { recursive: true });
  mkdirSync(join(tree, 'tmp'));
  chmodSync(join(tree, 'tmp'), 0o1777);
}

function unpack(file: string, tree: string): void {
  const without = unneeded.map((name) => `--exclude=./usr/share/${name}`).join(' ');
  const script = `dpkg-deb --fsys-tarfile "$1" | tar -C "$2" --keep-directory-symlink ${without} -xpf -`;
  execFileSync('sh', ['-c', `set -e; ${script}`, 'sh', file, tree], { timeout: limitMs });
}

/** This machine's static busybox serves every command that no package brought. */
function linkBusybox(tree: string): void {
  const program = execFileSync('sh', ['-c', 'command -v busybox'], { encoding: 'utf8' }).trim();
  const folder = join(tree, 'usr', 'bin');
  writeFileSync(join(folder, 'busybox'), readFileSync(program), { mode: 0o755 });
  const commands = execFileSync(program, ['--list'], { encoding: 'utf8' }).split('\n').filter(Boolean);
  const present = new Set([...readdirSync(folder), ...readdirSync(join(tree, 'usr', 'sbin'))]);
  for (const name of commands) if (!present.has(name)) symlinkSync('busybox', join(folder, name));
}

function writeRootFile(tree: string, { path, content, mode }: (typeof rootFiles)[number]): void {
  const file = join(tree, path);
  mkdirSync(dirname(file), { recursive: true });
  rmSync(file, { force: true });
  writeFileSync(file, content);
  chmodSync(file, mode);
}

function giveHome(tree: string): void {
  const home = join(tree, duser.home);
  chmodSync(home, 0o755);
  chownSync(home, duser.id, duser.id);
}
