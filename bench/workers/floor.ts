// The floor: a bare Fastify before the same table. One INSERT a request, one prepared read a request, nothing else.
import { randomBytes } from 'node:crypto';
import fastify, { type FastifyInstance } from 'fastify';
import { createDatabase, type Database } from '../../src/db/database.ts';
import { newId } from '../../src/main/ids.ts';
import { serveWorker } from '../support/worker.ts';

/** As many connections as Flotilla's own pool. */
const poolSize = 16;
/** As long as what Flotilla seals of the benchmark's job. */
const sealed = randomBytes(110);

let app: FastifyInstance | undefined;

async function start({ databaseUrl }: { databaseUrl: string }): Promise<{ url: string }> {
  const database = createDatabase({ connection: { url: databaseUrl }, poolSize });
  app = fastify();
  app.post('/v1/jobs', async (request, reply) =>
    reply.code(201).send(await insert(database, request.body as Body)),
  );
  app.get<{ Params: { uuid: string } }>('/v1/jobs/:uuid', async (request) => {
    const [row] = await database.query(selectJob, [request.params.uuid]);
    return row;
  });
  return { url: await app.listen({ host: '127.0.0.1', port: 0 }) };
}

interface Body {
  title: string;
  max_timeout_run_ms: number;
  max_timeout_assign_ms: number;
  parameters: { parameters: { image: string; tag: string; command: string[] } };
}

const selectJob = { name: 'floor_select', text: 'select *, id as uuid from jobs where id = $1' };

/** Every column that Flotilla's own insert writes. */
const insertJob = {
  name: 'floor_insert',
  text: `insert into jobs (id, account_id, task, title, description, cpu_count, gpu_count, gpu_name, gpu_registry_uuid,
      min_ram_gb, min_storage_gb, min_vram_gb, allowed_region_codes, container, sealed, max_timeout_assign_ms,
      max_timeout_start_ms, max_timeout_run_ms, max_retry_count, max_node_count, image_size_bytes,
      source_recipe_uuid, labels, priority, idempotency_key, idempotency_hash, status, created_at, updated_at,
      timeout_assign_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
      $24, $25, $26, 'PENDING', flotilla_now(), flotilla_now(), flotilla_now() + $16::bigint * interval '1 millisecond')
    returning created_at, timeout_assign_at`,
};

const accountId = newId();

async function insert(database: Database, body: Body): Promise<Record<string, unknown>> {
  const id = newId();
  const container = { ...body.parameters.parameters, host: null, user: null, imagesrc: null, ports: null };
  const stored = {
    ...container,
    sshkey: null,
    allowed_ips: [],
    volumes: [],
    entrypoint: null,
    stop_signal: null,
  };
  const [row] = await database.query<{ created_at: number; timeout_assign_at: number }>(insertJob, [
    ...[id, accountId, 'BATCH', body.title, null, 0, 0, null, null, 0, 0, 0, []],
    ...[
      JSON.stringify({ ...stored, env: undefined, stop_grace_ms: null }),
      sealed,
      body.max_timeout_assign_ms,
    ],
    ...[300_000, body.max_timeout_run_ms, 0, 1, null, null, '{}', 0, null, null],
  ]);
  return { object: 'job', uuid: id, status: 'PENDING', ...body, ...row };
}

const api = { start };
export type FloorApi = typeof api;
serveWorker(api);
