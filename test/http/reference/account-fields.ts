// Field lists of money, users, keys and the two envelopes as the reference has them (pages: overview, offers, key; clients).
import type { ReferenceObject } from './field-list.ts';

export const transaction: ReferenceObject = {
  title: 'Ledger transaction',
  at: { route: 'GET /v1/compute/ledger/transactions', part: 'item' },
  evidence: ['test/http/ledger.test.ts', 'test/http/ledger-history.test.ts'],
  fields: [
    ['created_at', 'time', 'C', 'the list is known, and that it sorts by created_at; its fields are ours'],
  ],
};

export const me: ReferenceObject = {
  title: 'The user who asks',
  at: { route: 'GET /v1/users/me', part: 'answer' },
  evidence: ['test/http/access.test.ts'],
  fields: [
    ['uuid', 'uuid', 'C', 'of the user; of the account for a key that belongs to no user'],
    ['email', 'string', 'C', "null for a key that is the account's own"],
  ],
};

export const balance: ReferenceObject = {
  title: 'Balance',
  at: { route: 'GET /v1/accounts/{uuid}/balance', part: 'answer' },
  evidence: ['test/http/ledger.test.ts', 'test/http/prepaid.test.ts', 'test/http/access.test.ts'],
  fields: [
    ['available_balance', 'number', 'C', 'credits less what runs cost since they were billed last'],
    ['currency', 'string', 'C', 'always USD'],
  ],
};

export const jwks: ReferenceObject = {
  title: 'Key set of the tokens',
  at: { route: 'GET /.well-known/jwks', part: 'answer' },
  evidence: ['test/http/access-tokens.test.ts'],
  fields: [
    ['keys', 'array', 'D overview', 'a JSON Web Key Set (RFC 7517)'],
    ['keys[].kty', 'string', 'D overview'],
  ],
};

export const createdKey: ReferenceObject = {
  title: 'API key, as it is created',
  at: { route: 'POST /v1/api-keys', part: 'answer' },
  evidence: ['test/http/signing.test.ts', 'test/http/access.test.ts'],
  fields: [
    ['public_key', 'string', 'D key', 'pk_…'],
    ['secret_key', 'string', 'D key', 'sk_…, shown once, as there'],
    [
      'name',
      'string',
      'D key',
      'the reference makes keys in its console; the names of these fields are ours',
    ],
    ['expires_at', 'time | null', 'D key'],
    ['allowed_ips', 'array', 'D key'],
    ['permissions', 'array', 'D key'],
    ['preset', 'string | null', 'D key', 'consumer and node as there; also admin and operator'],
  ],
};

export const listEnvelope: ReferenceObject = {
  title: 'List',
  at: { route: 'GET /v1/jobs', part: 'answer' },
  evidence: ['test/http/lists.test.ts'],
  fields: [
    ['data', 'array', 'D offers'],
    ['page', 'number', 'D offers'],
    ['limit', 'number', 'D offers'],
    ['total', 'number', 'D offers', 'exact to 10,000, an estimate beyond'],
  ],
};

export const errorEnvelope: ReferenceObject = {
  title: 'Error',
  at: { route: 'GET /v1/jobs/{uuid}', part: 'error' },
  evidence: ['test/http/validation.test.ts', 'test/http/signing.test.ts'],
  fields: [
    ['error', 'object', 'C'],
    ['error.code', 'string', 'C', 'one of the codes of the table of error codes'],
    ['error.message', 'string', 'I', 'a sentence first: clients print the first 300 characters'],
  ],
};
