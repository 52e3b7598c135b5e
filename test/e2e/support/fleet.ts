// Several servers on one PostgreSQL and a node that knows them all, each a process of its own.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { type Client, createClient } from '../../../src/sdk/client.ts';
import type { Command } from './command.ts';
import { eventually } from './eventually.ts';
import { createPlace, type Place } from './place.ts';

export interface Replica {
  url: string;
  client: Client;
  command: Command;
  /** Its process lives and may run. */
  isUp: boolean;
  /** After its process has ended; on the same port and data. */
  start(): Promise<void>;
  /** Its agent's control connection is here, as far as it knows. */
  hasAgent(): boolean;
  /** Its name as the holder of the leadership. */
  id(): string;
}

/** How one replica reaches PostgreSQL. */
export interface Way {
  url: string;
  /** Past the pooler that `url` goes through; null: there is none. */
  directUrl: string | null;
}

export interface Fleet {
  replicas: Replica[];
  node: Command;
  /** Past everything between the replicas and PostgreSQL. */
  query<Row>(sql: string): Promise<Row[]>;
  /** The one that the database says leads; fails when none of ours does in time. */
  leader(): Promise<Replica>;
  /** The one that the node is connected to. */
  holder(): Promise<Replica>;
  /** Options of commands for this replica. */
  connection(replica: Replica): string[];
  remove(): Promise<void>;
}

export async function createFleet(ways: readonly Way[], databaseUrl: string): Promise<Fleet> {
  const place = createPlace();
  const masterKey = randomBytes(32).toString('hex');
  const replicas: Replica[] = [];
  const keyFile = join(place.folder, 'admin-key.json');
  for (const [index, way] of ways.entries()) {
    const replica = await startReplica(place, { index, way, masterKey, keyFile });
    replicas.push(replica);
  }
  const query = <Row>(sql: string) => ask<Row>(databaseUrl, sql);
  const node = await startNode(place, replicas);
  const leader = () =>
    eventually('one of the living replicas to lead', async () => {
      const [row] = await query<{ holder: string }>(
        "select holder from leaderships where name = 'scheduler' and expires_at > now()",
      );
      return replicas.find((replica) => replica.isUp && replica.id() === row?.holder);
    });
  const holder = () =>
    eventually('the node to be connected to a living replica', async () =>
      replicas.find((replica) => replica.isUp && replica.hasAgent()),
    );
  return {
    ...{ replicas, node, query, leader, holder },
    connection: ({ url }) => ['--url', url, '--key-file', keyFile],
    async remove() {
      for (const replica of replicas) {
        replica.client.close();
        // One that is stopped hears no other signal.
        if (!replica.command.hasEnded()) replica.command.signal('SIGCONT');
      }
      await place.remove();
    },
  };
}

interface ReplicaPlace {
  index: number;
  way: Way;
  masterKey: string;
  /** The first one's admin key serves everywhere. */
  keyFile: string;
}

async function startReplica(
  place: Place,
  { index, way, masterKey, keyFile }: ReplicaPlace,
): Promise<Replica> {
  const dataDirectory = join(place.folder, `server-${index}`);
  const env = {
    ...{ DATABASE_URL: way.url, FLOTILLA_MASTER_KEY: masterKey },
    ...(way.directUrl === null ? {} : { DATABASE_DIRECT_URL: way.directUrl }),
  };
  // Each has an address of its own for public ports, as on a machine of its own.
  const gateway = ['--gateway-listen', `127.0.0.${index + 10}`, '--gateway-ports', '20000-20019'];
  const start = async (port: number) => {
    const command = place.start(
      ['server', '--port', String(port), '--data-dir', dataDirectory, ...gateway],
      env,
    );
    await command.until(/The admin key of this machine/);
    return command;
  };
  const command = await start(0);
  const own = JSON.parse(readFileSync(join(dataDirectory, 'admin-key.json'), 'utf8'));
  if (index === 0) writeFileSync(keyFile, JSON.stringify(own), { mode: 0o600 });
  const key = JSON.parse(readFileSync(keyFile, 'utf8'));
  const replica: Replica = {
    url: own.url,
    client: createClient({ url: own.url, publicKey: key.public_key, secretKey: key.secret_key }),
    command,
    isUp: true,
    async start() {
      replica.command = await start(Number(new URL(own.url).port));
      replica.isUp = true;
    },
    hasAgent() {
      const count = (words: RegExp) => [...replica.command.output().matchAll(words)].length;
      return count(/An agent connected/g) > count(/An agent disconnected/g);
    },
    id: () =>
      /"replica":"([0-9a-f-]{36})"/.exec(replica.command.output())?.[1] ?? assert.fail('it has a name'),
  };
  return replica;
}

async function startNode(place: Place, replicas: readonly Replica[]): Promise<Command> {
  const [first] = replicas;
  assert.ok(first);
  const { uuid, key } = await first.client.nodes.create({ name: 'fleet' });
  const file = join(place.folder, 'node-key.json');
  writeFileSync(file, JSON.stringify({ ...key, url: first.url, node_uuid: uuid }), { mode: 0o600 });
  const servers = replicas.flatMap(({ url }) => ['--server', url]);
  const state = ['--state-dir', join(place.folder, 'agent')];
  const command = place.start(['node', 'run', '--node-key', file, ...servers, ...state]);
  await command.until(/Connected to the server/);
  return command;
}

async function ask<Row>(url: string, sql: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  await client.connect();
  try {
    return (await client.query(sql)).rows as Row[];
  } finally {
    await client.end();
  }
}
