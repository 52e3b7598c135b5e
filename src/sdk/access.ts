// The parts of the client for who may do what: accounts, users, keys, the audit log and rate limits.
import type { Account, CreateAccountBody } from '../protocol/account.ts';
import type {
  ApiKey,
  CreateApiKeyBody,
  CreatedApiKey,
  RotateApiKeyBody,
  UpdateApiKeyBody,
} from '../protocol/api-key.ts';
import type { AuditEntry, AuditVerification } from '../protocol/audit.ts';
import type { ListEnvelope } from '../protocol/list.ts';
import type { RateLimitBody, RateLimitSetting } from '../protocol/rate-limit.ts';
import type { CreateUserBody, Me, UpdateUserBody, User } from '../protocol/user.ts';
import type { CallOptions } from './call.ts';
import type { ListQuery } from './query.ts';

type Send = <T>(method: string, path: string, options?: CallOptions) => Promise<T>;

export function accountsOf(send: Send) {
  return {
    create: (body: CreateAccountBody) => send<Account>('POST', '/v1/accounts', { body }),
    list: (query: ListQuery = {}) => send<ListEnvelope<Account>>('GET', '/v1/accounts', { query }),
    get: (uuid: string) => send<Account>('GET', pathOf('accounts', uuid)),
  };
}

export function usersOf(send: Send) {
  return {
    /** Who this client is: the user of its key, or the account where the key is the account's own. */
    me: () => send<Me>('GET', '/v1/users/me'),
    create: (body: CreateUserBody) => send<User>('POST', '/v1/users', { body }),
    list: (query: ListQuery = {}) => send<ListEnvelope<User>>('GET', '/v1/users', { query }),
    get: (uuid: string) => send<User>('GET', pathOf('users', uuid)),
    update: (uuid: string, body: UpdateUserBody) => send<User>('PUT', pathOf('users', uuid), { body }),
    /** For good, with all their keys. */
    remove: (uuid: string) => send<User>('DELETE', pathOf('users', uuid)),
  };
}

export function keysOf(send: Send) {
  return {
    create: (body: CreateApiKeyBody) => send<CreatedApiKey>('POST', '/v1/api-keys', { body }),
    list: (query: ListQuery = {}) => send<ListEnvelope<ApiKey>>('GET', '/v1/api-keys', { query }),
    get: (uuid: string) => send<ApiKey>('GET', pathOf('api-keys', uuid)),
    update: (uuid: string, body: UpdateApiKeyBody) => send<ApiKey>('PUT', pathOf('api-keys', uuid), { body }),
    /** A new secret; the old one works for `overlap_ms` more. */
    rotate: (uuid: string, body: RotateApiKeyBody = {}) =>
      send<CreatedApiKey>('POST', `${pathOf('api-keys', uuid)}/rotate`, { body }),
    revoke: (uuid: string) => send<ApiKey>('DELETE', pathOf('api-keys', uuid)),
  };
}

export function auditOf(send: Send) {
  return {
    list: (query: ListQuery = {}) => send<ListEnvelope<AuditEntry>>('GET', '/v1/audit-log', { query }),
    verify: () => send<AuditVerification>('GET', '/v1/audit-log/verification', { timeoutMs: 600_000 }),
  };
}

export function rateLimitOf(send: Send) {
  return {
    get: () => send<RateLimitSetting>('GET', '/v1/cluster/rate-limit'),
    set: (body: RateLimitBody) => send<RateLimitSetting>('PUT', '/v1/cluster/rate-limit', { body }),
  };
}

function pathOf(resource: string, uuid: string): string {
  if (!/^[\w-]+$/.test(uuid))
    throw new Error(`Cannot look up "${uuid}": give the uuid of one of the ${resource}.`);
  return `/v1/${resource}/${uuid}`;
}
