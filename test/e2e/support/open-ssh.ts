// The OpenSSH client as a person uses it: a key of one's own, the host key checked against the published fingerprint.
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { NodeUrl } from '../../../src/protocol/job.ts';

const run = promisify(execFile);
const limitMs = 30_000;

export interface SshKey {
  file: string;
  publicKey: string;
}

export function makeSshKey(folder: string): SshKey {
  const file = join(mkdtempSync(join(folder, 'ssh-')), 'id');
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'consumer', '-f', file], {
    timeout: limitMs,
  });
  return { file, publicKey: readFileSync(`${file}.pub`, 'utf8').trim() };
}

export interface Session {
  child: ChildProcess;
  /** Standard error of ssh when it has ended. */
  ended: Promise<string>;
}

/** Commands on the host that a node_url names, as this user with this key. */
export class OpenSsh {
  readonly #options: readonly string[];
  readonly #url: NodeUrl;
  readonly #user: string;

  private constructor(url: NodeUrl, user: string, options: readonly string[]) {
    this.#url = url;
    this.#user = user;
    this.#options = options;
  }

  /** Trusts exactly the host key that has the published fingerprint, and no other. */
  static async open(url: NodeUrl, user: string, key: SshKey): Promise<OpenSsh> {
    const knownHosts = `${key.file}.known-hosts-${url.port}`;
    writeFileSync(knownHosts, await publishedHostKey(url));
    const settings = [
      'IdentitiesOnly=yes',
      'BatchMode=yes',
      'StrictHostKeyChecking=yes',
      'ConnectTimeout=10',
    ];
    const options = [...settings, `UserKnownHostsFile=${knownHosts}`].flatMap((setting) => ['-o', setting]);
    return new OpenSsh(url, user, ['-F', 'none', '-i', key.file, ...options]);
  }

  /** Standard output of a command; rejects when it fails. */
  async run(command: string): Promise<string> {
    const { stdout } = await run('ssh', this.#sshArguments(command), { timeout: limitMs });
    return stdout.trim();
  }

  async upload(file: string, path: string): Promise<void> {
    await run('scp', [...this.#scpArguments(), file, `${this.#place}:${path}`], { timeout: limitMs });
  }

  /** With the old protocol (-O), so that both are used. */
  async download(path: string, file: string): Promise<void> {
    await run('scp', ['-O', ...this.#scpArguments(), `${this.#place}:${path}`, file], { timeout: limitMs });
  }

  /** A session that lasts; the caller ends it. */
  start(command: string, ...options: string[]): Session {
    const child = spawn('ssh', [...options, ...this.#sshArguments(command)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    // Unread, it would hold back the end; who wants the first of it listens at once.
    child.stdout.resume();
    let told = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      told += text;
    });
    return { child, ended: new Promise((resolve) => child.on('close', () => resolve(told))) };
  }

  get #place(): string {
    return `${this.#user}@${this.#url.hostname}`;
  }

  #sshArguments(command: string): string[] {
    return [...this.#options, '-p', String(this.#url.port), this.#place, command];
  }

  #scpArguments(): string[] {
    return [...this.#options, '-q', '-P', String(this.#url.port)];
  }
}

/** The known_hosts line of the key with that fingerprint; clients of today prefer the ed25519 key. */
async function publishedHostKey({
  hostname,
  port,
  host_key_fingerprint: expected,
}: NodeUrl): Promise<string> {
  assert.match(expected ?? '', /^SHA256:[A-Za-z0-9+/]{43}$/, 'the fingerprint is published');
  const { stdout } = await run('ssh-keyscan', ['-t', 'ed25519', '-T', '10', '-p', String(port), hostname], {
    timeout: limitMs,
  });
  const lines = stdout.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const fingerprints = lines.map(fingerprintOf);
  const line = lines[fingerprints.indexOf(expected ?? '')];
  assert.ok(line, `${expected} is not a key of the host, which shows ${fingerprints.join(', ')}`);
  return `${line}\n`;
}

/** As ssh-keygen itself says it. */
function fingerprintOf(knownHostsLine: string): string {
  const options = { input: `${knownHostsLine}\n`, encoding: 'utf8', timeout: limitMs } as const;
  return execFileSync('ssh-keygen', ['-lf', '-'], options).split(' ')[1] ?? '';
}
