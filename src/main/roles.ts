// The long-running roles of the program, wired from their parts: up, server, node run, key recover.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type {
  AgentSettings,
  DataOptions,
  NodeRunOptions,
  RecoveredKey,
  ServerOptions,
  UpOptions,
} from '../cli/roles.ts';
import { raiseGeneration } from '../db/node-restore.ts';
import { defaultDataDirectory } from '../embedded/data-directory.ts';
import { ensureDockerEngine } from '../embedded/docker-engine.ts';
import { ensureHelloImage } from '../embedded/hello-image.ts';
import { type ControlPlane, startControlPlane } from './control-plane.ts';
import { runHelloJob } from './hello-job.ts';
import { openAdminKey, openNodeKey, recoverAdminKey } from './local-keys.ts';
import { createLogger } from './logger.ts';
import { oidcSettings } from './oidc-settings.ts';
import { onShutdown, type Shutdown } from './shutdown.ts';
import { openStorage, type Storage } from './storage.ts';

/** Loaded where an agent runs: a server without one saves the memory of the engine's client (15 MB measured). */
async function loadAgent() {
  return import('./local-node.ts');
}

function tell(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** What was opened, closed in the opposite order even when one fails. */
class Closers {
  readonly #closers: (() => Promise<void>)[] = [];
  add(close: () => Promise<void>): void {
    this.#closers.push(close);
  }
  async closeAll(): Promise<void> {
    for (const close of this.#closers.reverse()) await close();
  }
}

/** Everything on one machine, until Ctrl-C; with `isOnce` until the hello job has ended. */
export async function up(options: UpOptions, version: string): Promise<number> {
  const closers = new Closers();
  const shutdown = onShutdown(tell);
  try {
    return await runEverything(options, { closers, shutdown, version });
  } finally {
    await closers.closeAll();
    shutdown.dispose();
  }
}

async function runEverything(
  options: UpOptions,
  { closers, shutdown, version }: { closers: Closers; shutdown: Shutdown; version: string },
): Promise<number> {
  const logFile = join(options.dataDirectory, 'flotilla.log');
  const log = createLogger({ file: logFile, level: process.env.FLOTILLA_LOG_LEVEL });
  const storage = await openStorage({ ...options, tell, log, signal: shutdown.signal });
  closers.add(() => storage.close());
  const engineSocket = await openEngine(options);
  const controlPlane = await startControlPlane({
    ...options,
    oidc: oidcSettings(options.oidc),
    storage,
    log,
    version,
  });
  closers.add(() => controlPlane.stop());
  const { key, file } = await openAdminKey(storage, controlPlane.url);
  tell(`admin key: ${file}`);
  const ca = readCa(options);
  const settings = localSettings(options, { storage, controlPlane });
  await startLocalNode({ storage, controlPlane, engineSocket, settings, log, closers, version, ca });
  if (options.hasHello && !shutdown.signal.aborted) {
    await ensureHelloImage({ socketPath: engineSocket, log: tell });
    const hello = await runHelloJob({ key, ca: ca ?? undefined, tell, signal: shutdown.signal });
    if (options.isOnce) return hello.status === 'COMPLETED' ? 0 : 1;
  } else if (options.isOnce) return 0;
  if (shutdown.signal.aborted) return 0;
  tell('');
  tell(`Flotilla is up: ${controlPlane.url}  (API documents at ${controlPlane.url}/docs, log in ${logFile})`);
  tell('Try: npx flotilla job submit busybox -- echo hi     Stop with Ctrl-C.');
  await shutdown.requested;
  return 0;
}

/** An engine that was named is taken as it is; else the usual ones are tried, and one is started where none runs. */
async function openEngine(options: UpOptions): Promise<string> {
  if (options.dockerSocket !== null) return options.dockerSocket;
  const engine = await ensureDockerEngine({
    dataDirectory: options.dataDirectory,
    log: tell,
    env: process.env,
  });
  return engine.socketPath;
}

type NodeSettings = AgentSettings & { stateDirectory: string };

/** Whoever reaches an API on loopback is on this machine already, and so may name the registries on it. */
const loopbackRegistries = ['localhost', '127.0.0.0/8', '::1'];

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

function localSettings(
  options: UpOptions,
  { storage, controlPlane }: { storage: Storage; controlPlane: ControlPlane },
): NodeSettings {
  return {
    ...options,
    allowedRegistries: [
      ...(isLoopback(options.host) ? loopbackRegistries : []),
      ...options.allowedRegistries,
    ],
    stateDirectory: options.stateDirectory ?? join(storage.dataDirectory, 'agent'),
    publicHost: options.publicHost === '' ? controlPlane.gatewayHostname : options.publicHost,
  };
}

async function startLocalNode(options: {
  storage: Storage;
  controlPlane: ControlPlane;
  engineSocket: string;
  settings: NodeSettings;
  log: ReturnType<typeof createLogger>;
  closers: Closers;
  version: string;
  ca: string | null;
}): Promise<void> {
  const { storage, controlPlane, closers, log, version } = options;
  const nodeKey = await openNodeKey(storage, controlPlane.url);
  const stop = new AbortController();
  const { runNode } = await loadAgent();
  await new Promise<void>((resolve, reject) => {
    const ended = runNode({
      key: {
        publicKey: nodeKey.public_key,
        secretKey: nodeKey.secret_key,
        url: nodeKey.url,
        nodeUuid: nodeKey.node_uuid,
        ca: options.ca,
      },
      engineSocket: options.engineSocket,
      settings: options.settings,
      version,
      log,
      signal: stop.signal,
      onConnected: () => resolve(),
    });
    ended.catch(reject);
    closers.add(async () => {
      stop.abort();
      await ended;
    });
  });
  tell(`node ${nodeKey.node_uuid} is connected (engine at ${options.engineSocket})`);
}

/** A certificate that signed itself is its own authority for clients on this machine. */
function readCa({ tls }: ServerOptions): string | null {
  return tls === null ? null : readFileSync(tls.certFile, 'utf8');
}

/** API, scheduler and hub for nodes elsewhere. */
export async function server(options: ServerOptions, version: string): Promise<number> {
  const closers = new Closers();
  const shutdown = onShutdown((line) => process.stderr.write(`${line}\n`));
  const log = createLogger({ file: null, level: process.env.FLOTILLA_LOG_LEVEL });
  try {
    const tell = (line: string) => log.info(line);
    const storage = await openStorage({ ...options, tell, log, signal: shutdown.signal });
    closers.add(() => storage.close());
    const controlPlane = await startControlPlane({
      ...options,
      oidc: oidcSettings(options.oidc),
      storage,
      log,
      version,
    });
    closers.add(() => controlPlane.stop());
    const { file } = await openAdminKey(storage, controlPlane.url);
    log.info({ file }, 'The admin key of this machine.');
    await shutdown.requested;
    return 0;
  } finally {
    await closers.closeAll();
    shutdown.dispose();
  }
}

/** The agent of this machine for a server elsewhere. */
export async function nodeRun(
  { key, serverUrls, ...settings }: NodeRunOptions,
  version: string,
): Promise<number> {
  const shutdown = onShutdown((line) => process.stderr.write(`${line}\n`));
  const log = createLogger({ file: null, level: process.env.FLOTILLA_LOG_LEVEL });
  const engineSocket =
    settings.dockerSocket ??
    (
      await ensureDockerEngine({
        dataDirectory: defaultDataDirectory(),
        log: (line) => log.info(line),
        env: process.env,
      })
    ).socketPath;
  const { runNode } = await loadAgent();
  await runNode({
    key,
    serverUrls,
    engineSocket,
    settings: {
      ...settings,
      stateDirectory: settings.stateDirectory ?? join(defaultDataDirectory(), 'agent'),
    },
    version,
    log,
    signal: shutdown.signal,
    onConnected: (url) => log.info({ url }, 'Connected to the server.'),
  });
  shutdown.dispose();
  return 0;
}

/** Needs the data, not the server: with the embedded database the server must be stopped first. */
export function keyRecover(options: DataOptions): Promise<RecoveredKey> {
  return withStorage(options, async (storage) => {
    const { key, file } = await recoverAdminKey(storage, 'http://127.0.0.1:7070');
    return { publicKey: key.public_key, secretKey: key.secret_key, keyFile: file };
  });
}

/** As keyRecover: before the server of a restored database starts. */
export function clusterRestored(options: DataOptions): Promise<number> {
  return withStorage(options, ({ database }) => database.transaction(raiseGeneration));
}

async function withStorage<T>(
  { dataDirectory, ...urls }: DataOptions,
  work: (storage: Storage) => Promise<T>,
): Promise<T> {
  const file = join(dataDirectory, 'flotilla.log');
  const log = createLogger({ file, level: process.env.FLOTILLA_LOG_LEVEL });
  const storage = await openStorage({ dataDirectory, ...urls, tell: () => {}, log });
  try {
    return await work(storage);
  } finally {
    await storage.close();
  }
}
