// The peers: pg-boss and graphile-worker on the same PostgreSQL, sending and processing no-op jobs.
import { Logger, makeWorkerUtils, type Runner, run } from 'graphile-worker';
import pg from 'pg';
import { PgBoss } from 'pg-boss';
import { serveWorker } from '../support/worker.ts';

type Peer = 'pg-boss' | 'graphile-worker';

interface Opened {
  send(): Promise<unknown>;
  /** Starts workers that call `done` once a job; answers how to stop them. */
  work(done: () => void): Promise<() => Promise<void>>;
}

/** As many connections as Flotilla's own pool. */
const poolSize = 16;
const concurrency = 32;
const payload = { image: 'busybox', tag: 'latest', command: ['true'], env: { PURPOSE: 'benchmark' } };
const opened = new Map<Peer, Opened>();

async function open({ peer, databaseUrl }: { peer: Peer; databaseUrl: string }): Promise<void> {
  opened.set(peer, peer === 'pg-boss' ? await openBoss(databaseUrl) : await openGraphile(databaseUrl));
}

async function openBoss(connectionString: string): Promise<Opened> {
  const boss = new PgBoss({ connectionString, max: poolSize, schedule: false });
  boss.on('error', (error) => console.error('pg-boss:', error));
  await boss.start();
  await boss.createQueue('jobs');
  return {
    send: () => boss.send('jobs', payload),
    async work(done) {
      // Its fast way: many jobs a fetch, and the next fetch at once after a full one.
      const options = {
        batchSize: 100,
        localConcurrency: 4,
        pollingIntervalSeconds: 0.5,
        burstWhenBatchFull: true,
      };
      await boss.work('jobs', options, async (jobs) => {
        for (const _ of jobs) done();
      });
      return () => boss.offWork('jobs');
    },
  };
}

async function openGraphile(connectionString: string): Promise<Opened> {
  const pgPool = new pg.Pool({ connectionString, max: poolSize });
  pgPool.on('error', (error) => console.error('graphile-worker:', error));
  const logger = new Logger(() => (level, message) => {
    if (level === 'error') console.error('graphile-worker:', message);
  });
  const utils = await makeWorkerUtils({ pgPool, logger });
  await utils.migrate();
  return {
    send: () => utils.addJob('noop', payload),
    async work(done) {
      const runner: Runner = await run({
        pgPool,
        logger,
        concurrency,
        noHandleSignals: true,
        pollInterval: 500,
        taskList: { noop: async () => done() },
      });
      return () => runner.stop();
    },
  };
}

function peerOf(peer: Peer): Opened {
  const found = opened.get(peer);
  if (found === undefined) throw new Error(`${peer} was not opened.`);
  return found;
}

/** Jobs sent per second with 32 calls under way. */
async function send({ peer, durationMs }: { peer: Peer; durationMs: number }): Promise<number> {
  const { send: sendOne } = peerOf(peer);
  const startedAt = performance.now();
  let count = 0;
  const one = async () => {
    while (performance.now() - startedAt < durationMs) {
      await sendOne();
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, one));
  return count / ((performance.now() - startedAt) / 1000);
}

/** Jobs per second from the first send to the last processed, sent by 32 callers while the workers work. */
async function process({ peer, count }: { peer: Peer; count: number }): Promise<number> {
  const { send: sendOne, work } = peerOf(peer);
  let left = count;
  let tellDone = () => {};
  const done = new Promise<void>((resolve) => {
    tellDone = resolve;
  });
  const stop = await work(() => {
    left -= 1;
    if (left === 0) tellDone();
  });
  const startedAt = performance.now();
  let unsent = count;
  const one = async () => {
    while (unsent-- > 0) await sendOne();
  };
  await Promise.all(Array.from({ length: concurrency }, one));
  await done;
  const elapsedMs = performance.now() - startedAt;
  await stop();
  return count / (elapsedMs / 1000);
}

const api = { open, send, process };
export type PeersApi = typeof api;
serveWorker(api);
