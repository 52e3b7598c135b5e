// The GPU registry, prices, offers and dry runs, on real SQL: one truth for what there is and what it costs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GpuRegistryEntry, RateCard } from '../../src/protocol/gpu-registry.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import type { JobDryRun, Offer } from '../../src/protocol/offer.ts';
import { aJob, aNode } from '../support/builders.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer();
const { admin } = server;
const rtx5090 = '0198ac1c-7063-4be8-bb94-57a5bd83548e';
const consumer = server.client(await server.createKey());

type Registry = ListEnvelope<GpuRegistryEntry>;
const registry = (query: string) => consumer.ask<Registry>('GET', `/v1/gpu-registry${query}`);
const offers = (query = '') => consumer.ask<ListEnvelope<Offer>>('GET', `/v1/compute/offers${query}`);
const dryRun = (body: object) => consumer.ask<JobDryRun>('POST', '/v1/jobs?dry_run=true', { body });
const card = (name: string, vramMib: number) => ({ name, vramMib });
const eu = 'eu-central-1';
const us = 'us-east-1';
const ap = 'ap-south-1';

await aNode(server, {
  region: eu,
  cpus: 32,
  gpus: [card('NVIDIA GeForce RTX 5090', 32_607), card('NVIDIA GeForce RTX 5090', 32_607)],
});
await aNode(server, { region: us, cpus: 4, ramGb: 16 });
await aNode(server, { region: ap, gpus: [card('NVIDIA Prototype X1', 65_536)] });

test('the registry knows models with their VRAM, price and free cards', async () => {
  const entry = await consumer.ask<GpuRegistryEntry>('GET', `/v1/gpu-registry/${rtx5090}`);
  assert.equal(entry.name, 'NVIDIA GeForce RTX 5090');
  assert.deepEqual([entry.vram_gb, entry.hourly_rate_usd, entry.price_source], [32, 0.69, 'reference']);
  const { data, total } = await registry('?filter[only_available]=true&filter[min_vram_gb]=30&limit=50');
  assert.ok(data.some(({ uuid, available_count: free }) => uuid === rtx5090 && free === 2));
  assert.ok(data.every(({ vram_gb: vram, available_count: free }) => vram >= 30 && free > 0));
  assert.equal(total, data.length);
  assert.ok((await registry('?limit=1')).total > 100);
});

test('a model that nobody described is added without a price', async () => {
  const found = await eventually('the prototype in the registry', async () => {
    const { data } = await registry('?filter[name]=Prototype');
    return data[0]?.available_count === 1 && data[0];
  });
  assert.deepEqual(
    [found.name, found.vram_gb, found.hourly_rate_usd, found.is_discovered],
    ['NVIDIA Prototype X1', 68, null, true],
  );
});

test('offers are what is free now, with its price; filters are at-least', async () => {
  const one = await offers(`?filter[gpu_registry_uuid]=${rtx5090}&filter[gpu_count]=1`);
  assert.equal(one.total, 1);
  const [offer] = one.data;
  assert.ok(offer);
  assert.equal(offer.pricing.hourly_rate_usd, 0.69);
  assert.deepEqual(
    [offer.region_code, offer.availability.gpu_count, offer.hardware_summary.gpu_count],
    [eu, 2, 1],
  );
  assert.equal(
    (await offers(`?filter[gpu_registry_uuid]=${rtx5090}`)).data[0]?.pricing.hourly_rate_usd,
    1.38,
  );
  assert.equal((await offers('?filter[gpu_count]=3')).total, 0);
  assert.equal((await offers('?filter[gpu_name]=RTX%205090&filter[min_vram_gb]=32')).total, 1);
  assert.equal((await offers('?filter[min_vram_gb]=33&filter[gpu_name]=RTX%205090')).total, 0);
  assert.equal((await offers(`?filter[allowed_region_codes]=${us},${ap}`)).total, 2);
  assert.equal((await offers('?filter[cpu_count]=16')).total, 1);
  assert.equal(
    (await offers('?filter[cpu_count]=null&filter[min_vram_gb]=null')).total,
    (await offers()).total,
  );
  assert.equal((await consumer.refusal('GET', '/v1/compute/offers?filter[cpus]=null')).status, 400);
  const refusal = await consumer.refusal('GET', '/v1/compute/offers?filter[ignore_region_constraints]=true');
  assert.equal(refusal.code, 'permission_denied');
});

test('a dry run says where a job would go and what it costs, and creates nothing', async () => {
  const before = (await admin.ask<{ total: number }>('GET', '/v1/jobs')).total;
  const body = aJob({ gpu_count: 2, gpu_registry_uuid: rtx5090 });
  const answer = await dryRun(body);
  assert.equal(answer.would_start_now, true);
  assert.equal(answer.hourly_rate_usd, 1.38);
  assert.equal(answer.candidates[0]?.gpus.length, 2);
  const none = await dryRun(aJob({ gpu_count: 3, gpu_registry_uuid: rtx5090 }));
  assert.equal(none.would_start_now, false);
  assert.match(none.message ?? '', /GPU/);
  assert.ok(Object.values(none.excluded).reduce((a, b) => a + b, 0) === none.nodes_considered);
  assert.equal((await admin.ask<{ total: number }>('GET', '/v1/jobs')).total, before);
  const wrong = await consumer.refusal('POST', '/v1/jobs?dry_run=true', { body: aJob({ gpu_count: -1 }) });
  assert.equal(wrong.code, 'validation_failed');
  const misspelt = await consumer.refusal('POST', '/v1/jobs?dryrun=true', { body });
  assert.equal(misspelt.code, 'validation_failed');
  const both = await consumer.refusal('POST', '/v1/jobs?dry_run=true&dry_run=false', { body });
  assert.equal(both.code, 'validation_failed');
  assert.equal((await admin.ask<{ total: number }>('GET', '/v1/jobs')).total, before);
});

test('a run keeps the price of its assignment', async () => {
  const job = await admin.createJob(aJob({ gpu_count: 1, gpu_registry_uuid: rtx5090 }));
  const rate = async () =>
    (await admin.listRuns({ 'filter[job_uuid]': job.uuid })).data[0]?.hourly_rate_usd ?? null;
  await eventually('a run', async () => (await rate()) !== null);
  assert.equal(await rate(), 0.69);
  const changed = await admin.ask<GpuRegistryEntry>('PUT', `/v1/gpu-registry/${rtx5090}`, {
    body: { hourly_rate_usd: 0.5 },
  });
  assert.deepEqual([changed.hourly_rate_usd, changed.price_source, changed.available_count], [0.5, null, 1]);
  assert.equal(await rate(), 0.69);
  const next = await eventually('the new price', async () => {
    const answer = await dryRun(aJob({ gpu_count: 1, gpu_registry_uuid: rtx5090 }));
    return answer.hourly_rate_usd === 0.5 && answer;
  });
  assert.equal(next.candidate_count, 1);
});

test('rates price runs without GPU and cards without a price', async () => {
  const body = { unpriced_gpu_usd: 0.25, cpu_usd: 0.01, ram_gb_usd: 0.002 };
  assert.deepEqual(await admin.ask<RateCard>('PUT', '/v1/compute/rates', { body }), {
    object: 'rates',
    ...body,
  });
  const cpu = await dryRun(aJob({ cpu_count: 2, min_ram_gb: 4, allowed_region_codes: [us] }));
  assert.equal(cpu.hourly_rate_usd, 0.028);
  const gpu = await dryRun(aJob({ gpu_count: 1, allowed_region_codes: [ap] }));
  assert.equal(gpu.hourly_rate_usd, 0.25);
});

test('models are added once', async () => {
  const body = {
    vendor: 'NVIDIA',
    name: 'NVIDIA Test 1',
    vram_gb: 12,
    hourly_rate_usd: 0.1,
    aliases: ['T1'],
  };
  const created = await admin.ask<GpuRegistryEntry>('POST', '/v1/gpu-registry', { body });
  assert.deepEqual([created.name, created.hourly_rate_usd, created.is_discovered], [body.name, 0.1, false]);
  assert.equal((await admin.refusal('POST', '/v1/gpu-registry', { body })).code, 'conflict');
  const other = await admin.ask<GpuRegistryEntry>('POST', '/v1/gpu-registry', {
    body: { ...body, name: 'NVIDIA Test 2' },
  });
  const rename = { body: { name: body.name } };
  assert.equal((await admin.refusal('PUT', `/v1/gpu-registry/${other.uuid}`, rename)).code, 'conflict');
});
