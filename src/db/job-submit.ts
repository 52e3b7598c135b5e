// Submit: jobs that arrive together share one statement and one commit, with their first event; a bad row fails alone.
import type { JobSpec } from '../domain/job.ts';
import { type Database, DatabaseUnavailable } from './database.ts';
import { secretsOwner, storeContainer } from './job-rows.ts';
import type { Vault } from './vault.ts';

export interface JobSubmission {
  id: string;
  accountId: string;
  spec: JobSpec;
  imageSizeBytes: number | null;
  sourceRecipeUuid: string | null;
  sourceRecipeVersion?: number | null;
  /** Taken once with the insert; null when the caller proved freshness otherwise. */
  nonce: { keyId: string; value: string } | null;
  idempotency: { key: string; hash: Buffer } | null;
  /** Who submits, as the event `submitted` tells it. */
  actor: Record<string, unknown>;
}

export type SubmitOutcome =
  | { kind: 'created'; createdAtMs: number; timeoutAssignAtMs: number }
  | { kind: 'nonce_reused' }
  /** The idempotency key was used before by this account; the job it made can be read by it. */
  | { kind: 'key_used' };

export interface JobSubmitter {
  submit(submission: JobSubmission): Promise<SubmitOutcome>;
}

/** More rows a statement save nothing, and make a failing one dearer to split. */
const maxBatchSize = 256;
/** Batches under way at once; the next rows gather meanwhile. */
const maxBatches = 2;

interface Waiting {
  submission: JobSubmission;
  resolve: (outcome: SubmitOutcome) => void;
  reject: (error: unknown) => void;
}

export function createJobSubmitter(database: Database, vault: Vault): JobSubmitter {
  let waiting: Waiting[] = [];
  let running = 0;
  let isScheduled = false;

  function flush() {
    isScheduled = false;
    while (running < maxBatches && waiting.length > 0) {
      const batch = waiting.slice(0, maxBatchSize);
      waiting = waiting.slice(maxBatchSize);
      running += 1;
      void insertSplitting(database, vault, batch)
        .then((outage) => {
          // Who came while the database was waited for has waited too: another wait would be a second one.
          if (outage === null) return;
          for (const entry of waiting) entry.reject(outage);
          waiting = [];
        })
        .finally(() => {
          running -= 1;
          flush();
        });
    }
  }

  return {
    submit: (submission) =>
      new Promise((resolve, reject) => {
        waiting.push({ submission, resolve, reject });
        if (isScheduled) return;
        isScheduled = true;
        // After the I/O of this tick, so that requests read together go together.
        setImmediate(flush);
      }),
  };
}

/** Halves a failing batch until the row at fault is alone. Answers the error when the database is away. */
async function insertSplitting(database: Database, vault: Vault, batch: Waiting[]): Promise<unknown> {
  try {
    const outcomes = await insertBatch(
      database,
      vault,
      batch.map((entry) => entry.submission),
    );
    for (const [index, entry] of batch.entries()) settle(entry, outcomes.get(index));
    return null;
  } catch (error) {
    if (batch.length === 1 || error instanceof DatabaseUnavailable) {
      for (const entry of batch) entry.reject(error);
      return error instanceof DatabaseUnavailable ? error : null;
    }
    const half = Math.ceil(batch.length / 2);
    const outage = await insertSplitting(database, vault, batch.slice(0, half));
    return (await insertSplitting(database, vault, batch.slice(half))) ?? outage;
  }
}

function settle(entry: Waiting, outcome: SubmitOutcome | undefined): void {
  if (outcome === undefined) entry.reject(new Error('The database answered fewer rows than were sent.'));
  else entry.resolve(outcome);
}

/** Column and type of every value of a submitted job, in one place for the statement and the rows. */
const columns = {
  id: 'uuid',
  account_id: 'uuid',
  task: 'text',
  title: 'text',
  description: 'text',
  cpu_count: 'double precision',
  gpu_count: 'integer',
  gpu_name: 'text',
  gpu_registry_uuid: 'uuid',
  min_ram_gb: 'double precision',
  min_storage_gb: 'double precision',
  min_vram_gb: 'double precision',
  allowed_region_codes: 'text[]',
  container: 'jsonb',
  sealed: 'bytea',
  max_timeout_assign_ms: 'bigint',
  max_timeout_start_ms: 'bigint',
  start_timeout_waits_for_pull: 'boolean',
  max_timeout_run_ms: 'bigint',
  max_retry_count: 'integer',
  max_node_count: 'integer',
  on_node_lost: 'text',
  max_cost_micros: 'bigint',
  renew_within_ms: 'bigint',
  idle_timeout_ms: 'bigint',
  image_size_bytes: 'bigint',
  source_recipe_uuid: 'uuid',
  source_recipe_version: 'integer',
  labels: 'jsonb',
  priority: 'integer',
  idempotency_key: 'text',
  idempotency_hash: 'bytea',
} as const;
const columnNames = Object.keys(columns).join(', ');
const columnTypes = Object.entries(columns)
  .map(([name, type]) => `${name} ${type}`)
  .join(', ');

/** A nonce that stands twice in a batch is taken by its first row (`copy` 1) alone. */
const insertJobs = {
  name: 'insert_jobs',
  text: `
    with input as materialized (
      select *, row_number() over (partition by nonce_key, nonce order by ordinal) as copy
      from json_to_recordset($1::json) as i(ordinal integer, nonce_key uuid, nonce text, actor jsonb, ${columnTypes})
    ), claimed as (
      insert into nonces (slot, key_id, nonce)
      select flotilla_nonce_slot(), i.nonce_key, i.nonce from input i
      where i.nonce is not null
        -- "offset 0" keeps it an index probe a row: as a join it is planned while nonces is small, and reads all of it.
        and not exists (select from nonces n where n.key_id = i.nonce_key and n.nonce = i.nonce offset 0)
      on conflict do nothing returning key_id, nonce
    ), created as (
      insert into jobs (${columnNames}, status, created_at, updated_at, timeout_assign_at)
      select ${columnNames}, 'PENDING', flotilla_now(), flotilla_now(),
        flotilla_now() + max_timeout_assign_ms * interval '1 millisecond'
      from input i
      where i.nonce is null
        or i.copy = 1 and exists (select from claimed c where c.key_id = i.nonce_key and c.nonce = i.nonce)
      on conflict (account_id, idempotency_key) where idempotency_key is not null do nothing
      returning id, created_at, timeout_assign_at
    ), submitted as (
      insert into job_events (created_at, account_id, job_id, kind, to_status, actor)
      select j.created_at, i.account_id, i.id, 'submitted', 'PENDING', i.actor
      from created j join input i on i.id = j.id order by i.ordinal
    )
    select i.ordinal, (i.nonce is null or i.copy = 1 and c.nonce is not null) as is_fresh, j.created_at, j.timeout_assign_at
    from input i
    left join claimed c on c.key_id = i.nonce_key and c.nonce = i.nonce
    left join created j on j.id = i.id`,
};

interface InsertedRow {
  ordinal: number;
  is_fresh: boolean;
  created_at: number | null;
  timeout_assign_at: number | null;
}

async function insertBatch(
  database: Database,
  vault: Vault,
  submissions: JobSubmission[],
): Promise<Map<number, SubmitOutcome>> {
  const rows = submissions.map((submission, ordinal) => ({ ordinal, ...toRow(submission, vault) }));
  const inserted = await database.query<InsertedRow>(insertJobs, [JSON.stringify(rows)]);
  return new Map(inserted.map((row) => [row.ordinal, toOutcome(row)]));
}

function toOutcome(row: InsertedRow): SubmitOutcome {
  if (row.created_at !== null && row.timeout_assign_at !== null) {
    return { kind: 'created', createdAtMs: row.created_at, timeoutAssignAtMs: row.timeout_assign_at };
  }
  return row.is_fresh ? { kind: 'key_used' } : { kind: 'nonce_reused' };
}

type SubmittedRow = Record<keyof typeof columns, unknown> & {
  nonce_key: string | null;
  nonce: string | null;
  actor: Record<string, unknown>;
};

function toRow(
  { id, accountId, spec, nonce, idempotency, actor, ...rest }: JobSubmission,
  vault: Vault,
): SubmittedRow {
  const { requirements } = spec;
  const { container, sealed } = storeContainer(spec.container, { vault, owner: secretsOwner(accountId, id) });
  return {
    nonce_key: nonce?.keyId ?? null,
    nonce: nonce?.value ?? null,
    actor,
    id,
    account_id: accountId,
    task: spec.task,
    title: spec.title,
    description: spec.description,
    cpu_count: requirements.cpuCount,
    gpu_count: requirements.gpuCount,
    gpu_name: requirements.gpuName,
    gpu_registry_uuid: requirements.gpuRegistryUuid,
    min_ram_gb: requirements.minRamGb,
    min_storage_gb: requirements.minStorageGb,
    min_vram_gb: requirements.minVramGb,
    allowed_region_codes: requirements.allowedRegionCodes,
    container,
    sealed: bytea(sealed),
    max_timeout_assign_ms: spec.maxTimeoutAssignMs,
    max_timeout_start_ms: spec.maxTimeoutStartMs,
    start_timeout_waits_for_pull: spec.startTimeoutWaitsForPull,
    max_timeout_run_ms: spec.maxTimeoutRunMs,
    max_retry_count: spec.maxRetryCount,
    max_node_count: spec.maxNodeCount,
    on_node_lost: spec.onNodeLost,
    max_cost_micros: spec.budget.maxCostMicros,
    renew_within_ms: spec.budget.renewWithinMs,
    idle_timeout_ms: spec.budget.idleTimeoutMs,
    image_size_bytes: rest.imageSizeBytes,
    source_recipe_uuid: rest.sourceRecipeUuid,
    source_recipe_version: rest.sourceRecipeVersion ?? null,
    labels: spec.labels,
    priority: spec.priority,
    idempotency_key: idempotency?.key ?? null,
    idempotency_hash: bytea(idempotency?.hash ?? null),
  };
}

/** PostgreSQL's text form of bytes. */
function bytea(bytes: Buffer | null): string | null {
  return bytes === null ? null : `\\x${bytes.toString('hex')}`;
}
