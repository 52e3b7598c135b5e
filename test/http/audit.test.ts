// The audit log: one entry for every change of rights, whoever may read it, and what is found of one that was tampered with.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { recoverAdminKey } from '../../src/main/local-keys.ts';
import type { Account } from '../../src/protocol/account.ts';
import type { CreatedApiKey } from '../../src/protocol/api-key.ts';
import type { AuditEntry, AuditVerification } from '../../src/protocol/audit.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import type { CreatedNode } from '../../src/protocol/node.ts';
import type { User } from '../../src/protocol/user.ts';
import type { Client } from '../support/client.ts';
import { startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false });
const { admin, database } = server;
const replica = await server.startReplica();
const own = server.storage.account.id;

const list = (client: Client, query = '') =>
  client.ask<ListEnvelope<AuditEntry>>('GET', `/v1/audit-log?limit=50${query}`);
const verify = () => admin.ask<AuditVerification>('GET', '/v1/audit-log/verification');
const post = <T>(path: string, body: object, client = admin) => client.ask<T>('POST', path, { body });
const put = (path: string, body: object) => admin.ask('PUT', path, { body });

/** As someone who owns the database could: triggers do not hold them. */
async function tamper(statement: string): Promise<void> {
  await database.transaction(async (sql) => {
    await sql.query('set local session_replication_role = replica');
    await sql.query(statement);
  });
}

test('every change of rights is one entry, with who made it and what it made', async () => {
  const before = (await list(admin)).total;
  const user = await post<User>('/v1/users', { email: 'a@example.org' });
  await put(`/v1/users/${user.uuid}`, { role: 'operator' });
  const key = await post<CreatedApiKey>('/v1/api-keys', { user_uuid: user.uuid, name: 'k' });
  await put(`/v1/api-keys/${key.uuid}`, { allowed_ips: ['10.0.0.0/8'] });
  const rotated = await post<CreatedApiKey>(`/v1/api-keys/${key.uuid}/rotate`, {});
  await admin.ask('DELETE', `/v1/api-keys/${key.uuid}`);
  await admin.ask('DELETE', `/v1/api-keys/${key.uuid}`);
  await admin.ask('DELETE', `/v1/users/${user.uuid}`);
  await admin.ask('DELETE', `/v1/users/${user.uuid}`);
  const account = await post<Account>('/v1/accounts', { name: 'a tenant' });
  await post(`/v1/accounts/${account.uuid}/credits`, { amount_usd: 5 });
  await put('/v1/compute/rates', { unpriced_gpu_usd: 1, cpu_usd: 0, ram_gb_usd: 0 });
  await put('/v1/cluster/rate-limit', { requests_per_second: 9_000 });
  const gpu = await post<{ uuid: string }>('/v1/gpu-registry', { vendor: 'X', name: 'X 1', vram_gb: 8 });
  await put(`/v1/gpu-registry/${gpu.uuid}`, { hourly_rate_usd: 2 });
  const node = await post<CreatedNode>('/v1/nodes', { name: 'n' });
  await put(`/v1/nodes/${node.uuid}/remove`, {});
  await put(`/v1/nodes/${node.uuid}/remove`, {});
  // Refused, and so no change.
  await admin.refusal('POST', '/v1/users', { body: { email: 'nobody' } });
  await admin.refusal('POST', '/v1/api-keys', { body: { account_uuid: user.uuid } });

  const { data, total } = await list(admin, '&sort=created_at');
  const entries = data.slice(before);
  assert.deepEqual(
    entries.map(({ action }) => action),
    [
      ...[
        'user_created',
        'user_updated',
        'key_created',
        'key_updated',
        'key_rotated',
        'key_revoked',
        'user_removed',
      ],
      ...['account_created', 'credits_granted', 'rates_set', 'rate_limit_set'],
      ...['gpu_registry_created', 'gpu_registry_updated', 'key_created', 'node_removed'],
    ],
  );
  for (const { actor } of entries)
    assert.deepEqual(
      [actor.kind, actor.key_uuid, actor.account_uuid, actor.address],
      ['key', server.adminKey.id, own, '127.0.0.1'],
    );
  const updated = entries[3];
  assert.deepEqual([updated?.subject_uuid, updated?.detail.allowed_ips], [key.uuid, ['10.0.0.0/8']]);
  const text = JSON.stringify(entries);
  for (const secret of [key.secret_key, rotated.secret_key, node.key.secret_key])
    assert.ok(!text.includes(secret));
  const verdict = await verify();
  assert.deepEqual(
    [verdict.is_right, verdict.entry_count, verdict.head_hash],
    [true, total, entries.at(-1)?.hash],
  );
});

test("an account's admin reads of their account alone, and of the cluster's admin no more than that", async () => {
  const account = await post<Account>('/v1/accounts', { name: 'another' });
  const key = await post<CreatedApiKey>('/v1/api-keys', { preset: 'admin', account_uuid: account.uuid });
  const tenant = server.client({ publicKey: key.public_key, secretKey: key.secret_key });
  await post('/v1/users', { email: 't@example.org' }, tenant);
  const { data } = await list(tenant);
  assert.deepEqual(
    data.map(({ action, account_uuid: of, actor }) => [action, of, actor.kind]),
    [
      ['user_created', account.uuid, 'key'],
      ['key_created', account.uuid, 'cluster_admin'],
      ['account_created', account.uuid, 'cluster_admin'],
    ],
  );
  assert.ok(!JSON.stringify(data).includes(server.adminKey.publicKey));
  assert.equal((await list(tenant, `&filter[account_uuid]=${own}`)).total, 0);
  assert.equal((await tenant.refusal('GET', '/v1/audit-log/verification')).code, 'permission_denied');
  assert.equal((await list(admin, `&filter[account_uuid]=${account.uuid}`)).total, 3);
  assert.equal((await list(admin, `&filter[actor_key_uuid]=${key.uuid}`)).total, 1);
  assert.equal((await list(admin, `&filter[subject_uuid]=${key.uuid}&filter[action]=key_created`)).total, 1);
});

test('changes at the same time on two replicas make one chain, and none is lost', async () => {
  const before = (await verify()).entry_count;
  const other = server.client(server.adminKey, replica.url);
  const count = 40;
  const made = await Promise.allSettled(
    Array.from({ length: count }, (_, index) =>
      post('/v1/users', { email: `c${index % 30}@example.org` }, index % 2 === 0 ? admin : other),
    ),
  );
  const accepted = made.filter(({ status }) => status === 'fulfilled').length;
  assert.equal(accepted, 30);
  const { is_right: isRight, entry_count: after } = await verify();
  assert.deepEqual([isRight, after], [true, before + accepted]);
});

test('a key made on the machine that holds the data is told of, too', async () => {
  const { key } = await recoverAdminKey(server.storage, server.url);
  const [entry] = (await list(admin)).data;
  assert.deepEqual([entry?.action, entry?.actor.kind], ['key_created', 'machine']);
  assert.equal(entry?.detail.public_key, key.public_key);
});

test('the log is append-only', async () => {
  for (const statement of [
    "update audit_log set action = 'x'",
    'delete from audit_log',
    'truncate audit_log',
  ])
    await assert.rejects(database.query(statement), /append-only/);
});

test('whoever owns the database cannot change, take out or cut off an entry unseen', async () => {
  const [row] = await database.query<{ detail: string; id: string }>(
    'select detail::text, id from audit_log where sequence = 3',
  );
  assert.ok(row);
  await tamper(`update audit_log set detail = '{"email": "forged@example.org"}' where sequence = 3`);
  const forged = await verify();
  assert.equal(forged.is_right, false);
  assert.deepEqual(forged.wrong_entries, [{ sequence: 3, uuid: row.id, fault: 'changed' }]);
  await tamper(`update audit_log set detail = '${row.detail.replaceAll("'", "''")}' where sequence = 3`);
  assert.equal((await verify()).is_right, true);

  for (const [column, value] of [
    ['actor', `'{"kind": "key"}'`],
    ['created_at', "created_at - interval '1 ms'"],
    ['account_id', 'null'],
    ['action', "'key_revoked'"],
    ['subject_id', 'null'],
  ] as const) {
    await tamper('create table kept as select * from audit_log where sequence = 1');
    await tamper(`update audit_log set ${column} = ${value} where sequence = 1`);
    assert.deepEqual(
      (await verify()).wrong_entries.map(({ fault }) => fault),
      ['changed'],
      column,
    );
    await tamper(`update audit_log l set ${column} = k.${column} from kept k where k.sequence = l.sequence`);
    await tamper('drop table kept');
  }

  await tamper('create table taken as select * from audit_log where sequence = 4');
  await tamper('delete from audit_log where sequence = 4');
  assert.deepEqual((await verify()).wrong_entries, [{ sequence: 4, uuid: null, fault: 'missing' }]);
  await tamper('insert into audit_log select * from taken');
  assert.equal((await verify()).is_right, true);

  await tamper('delete from audit_log where sequence = (select max(sequence) from audit_log)');
  assert.deepEqual(
    (await verify()).wrong_entries.map(({ fault }) => fault),
    ['head'],
  );
});
