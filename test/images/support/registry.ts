// Debian's docker-registry on loopback, open or behind a password, its access log, and a slow line in front of it.
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

export const user = 'alice';
export const secret = 'correct-horse-battery';

const run = promisify(execFile);

export class Registry {
  readonly #folder = mkdtempSync(join(tmpdir(), 'flotilla-registry-'));
  readonly #isPrivate: boolean;
  #process: ChildProcess | null = null;
  #log = '';
  #port = 0;

  constructor({ isPrivate }: { isPrivate: boolean }) {
    this.#isPrivate = isPrivate;
  }

  get host(): string {
    return `127.0.0.1:${this.#port}`;
  }

  get port(): number {
    return this.#port;
  }

  async start(): Promise<this> {
    this.#port ||= await freePort();
    const config = join(this.#folder, 'config.yml');
    writeFileSync(config, this.#config());
    const child = spawn('docker-registry', ['serve', config], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process = child;
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (bytes) => {
        this.#log += bytes;
      });
    for (let tries = 0; tries < 200; tries += 1) {
      if (await answers(this.#port)) return this;
      await delay(25);
    }
    return assert.fail(`docker-registry does not answer:\n${this.#log}`);
  }

  async stop(): Promise<void> {
    const child = this.#process;
    this.#process = null;
    if (child === null || child.exitCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Requests so far whose line in the access log matches. */
  requests(pattern: RegExp): string[] {
    return this.#log.split('\n').filter((line) => pattern.test(line));
  }

  /** Pushes a local image and takes it off the engine, so that only the registry has it; its digest. */
  async publish(localName: string, name: string): Promise<string> {
    const remote = `${this.host}/${name}`;
    await run('docker', ['tag', localName, remote]);
    const login = Buffer.from(`${user}:${secret}`).toString('base64');
    const config = join(this.#folder, 'docker');
    mkdirSync(config, { recursive: true });
    writeFileSync(join(config, 'config.json'), JSON.stringify({ auths: { [this.host]: { auth: login } } }));
    const { stdout } = await run('docker', ['--config', config, 'push', remote]);
    await run('docker', ['rmi', remote]);
    const digest = /digest: (sha256:[0-9a-f]{64})/.exec(stdout)?.[1];
    assert.ok(digest, stdout);
    return digest;
  }

  #config(): string {
    const lines = [
      'version: 0.1',
      'log: {level: warn, accesslog: {disabled: false}}',
      `storage: {filesystem: {rootdirectory: ${join(this.#folder, 'store')}}}`,
      `http: {addr: "${this.host}"}`,
    ];
    if (!this.#isPrivate) return lines.join('\n');
    const passwords = join(this.#folder, 'htpasswd');
    writeFileSync(passwords, execFileSync('htpasswd', ['-Bbn', user, secret]));
    return [...lines, `auth: {htpasswd: {realm: flotilla, path: ${passwords}}}`].join('\n');
  }
}

/** Lets so many bytes a second through from the registry; 0: none. */
export class SlowLine {
  bytesPerSecond: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(target: Registry, bytesPerSecond: number) {
    this.bytesPerSecond = bytesPerSecond;
    this.#server = createServer((socket) => this.#carry(socket, target.port));
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Connections that are open now. */
  get connectionCount(): number {
    return [...this.#sockets].filter((socket) => !socket.destroyed).length;
  }

  async start(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #carry(near: Socket, port: number): void {
    const far = connect(port, '127.0.0.1');
    this.#sockets.add(near);
    near.on('error', () => far.destroy()).on('close', () => far.destroy());
    far.on('error', () => near.destroy());
    near.pipe(far);
    void this.#drip(far, near);
  }

  async #drip(from: Socket, to: Socket): Promise<void> {
    try {
      for await (const chunk of from as AsyncIterable<Buffer>) {
        to.write(chunk);
        // Short answers pass: only what is long is slow.
        if (chunk.length > 8_000) await delay((chunk.length / this.bytesPerSecond) * 1000);
      }
    } catch {
      // One side is gone.
    }
    to.end();
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function answers(port: number): Promise<boolean> {
  try {
    await fetch(`http://127.0.0.1:${port}/v2/`);
    return true;
  } catch {
    return false;
  }
}
