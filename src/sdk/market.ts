// The parts of the client for what jobs are made of and cost: recipes, GPU models, offers, money.
import { randomUUID } from 'node:crypto';
import type { BillingBody, BillingSettings, PrepaidBody } from '../protocol/billing.ts';
import type {
  CreateGpuRegistryBody,
  GpuRegistryEntry,
  RateCard,
  RatesBody,
  UpdateGpuRegistryBody,
} from '../protocol/gpu-registry.ts';
import type { Job } from '../protocol/job.ts';
import type { Balance, CreditBody, LedgerTransaction, LedgerVerification } from '../protocol/ledger.ts';
import type { ListEnvelope } from '../protocol/list.ts';
import type { Offer } from '../protocol/offer.ts';
import type { CreateRecipeBody, ForkRecipeBody, Recipe, UpdateRecipeBody } from '../protocol/recipe.ts';
import type { CallOptions } from './call.ts';
import type { ListQuery } from './query.ts';

type Send = <T>(method: string, path: string, options?: CallOptions) => Promise<T>;

export function recipesOf(send: Send) {
  const path = (uuid: string) => `/v1/job-recipes/${encodeURIComponent(uuid)}`;
  return {
    create: (body: CreateRecipeBody) => send<Recipe>('POST', '/v1/job-recipes', { body }),
    list: (query: ListQuery = {}) => send<ListEnvelope<Recipe>>('GET', '/v1/job-recipes', { query }),
    get: (uuid: string) => send<Recipe>('GET', path(uuid)),
    update: (uuid: string, body: UpdateRecipeBody) => send<Recipe>('PUT', path(uuid), { body }),
    archive: (uuid: string) => send<Recipe>('PUT', `${path(uuid)}/archive`, { body: {} }),
    fork: (uuid: string, body: ForkRecipeBody = {}) => send<Recipe>('POST', `${path(uuid)}/fork`, { body }),
    /** Overrides of the payload's fields, and `inputs`; a repeat with the same key makes no second job. */
    cook: (uuid: string, body: Record<string, unknown> = {}, options: { idempotencyKey?: string } = {}) => {
      const headers = { 'Idempotency-Key': options.idempotencyKey ?? randomUUID() };
      return send<Job>('POST', `${path(uuid)}/cook`, { body, headers });
    },
  };
}

export function gpusOf(send: Send) {
  const path = (uuid: string) => `/v1/gpu-registry/${encodeURIComponent(uuid)}`;
  return {
    list: (query: ListQuery = {}) =>
      send<ListEnvelope<GpuRegistryEntry>>('GET', '/v1/gpu-registry', { query }),
    get: (uuid: string) => send<GpuRegistryEntry>('GET', path(uuid)),
    create: (body: CreateGpuRegistryBody) => send<GpuRegistryEntry>('POST', '/v1/gpu-registry', { body }),
    update: (uuid: string, body: UpdateGpuRegistryBody) =>
      send<GpuRegistryEntry>('PUT', path(uuid), { body }),
    offers: (query: ListQuery = {}) => send<ListEnvelope<Offer>>('GET', '/v1/compute/offers', { query }),
    rates: () => send<RateCard>('GET', '/v1/compute/rates'),
    setRates: (body: RatesBody) => send<RateCard>('PUT', '/v1/compute/rates', { body }),
  };
}

export function ledgerOf(send: Send) {
  const path = (uuid: string) => `/v1/accounts/${encodeURIComponent(uuid)}`;
  return {
    transactions: (query: ListQuery = {}) =>
      send<ListEnvelope<LedgerTransaction>>('GET', '/v1/compute/ledger/transactions', { query }),
    balance: (accountUuid: string) => send<Balance>('GET', `${path(accountUuid)}/balance`),
    credit: (accountUuid: string, body: CreditBody) =>
      send<LedgerTransaction>('POST', `${path(accountUuid)}/credits`, { body }),
    billing: () => send<BillingSettings>('GET', '/v1/compute/billing'),
    setBilling: (body: BillingBody) => send<BillingSettings>('PUT', '/v1/compute/billing', { body }),
    setPrepaid: (accountUuid: string, body: PrepaidBody) =>
      send<Balance>('PUT', `${path(accountUuid)}/prepaid`, { body }),
    verify: () => send<LedgerVerification>('GET', '/v1/compute/ledger/verification', { timeoutMs: 600_000 }),
  };
}
