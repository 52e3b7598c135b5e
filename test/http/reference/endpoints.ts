// Every operation of the API: where the reference has it, what ours does otherwise, and the tests that show it.

export interface Endpoint {
  route: string;
  /** Mark and page; empty: the reference does not have it. */
  reference: string;
  difference: string;
  /** The first is a test that asks for it. */
  evidence: readonly string[];
  /** Query parameters that the reference has, each with a value that it takes. */
  query?: Record<string, string>;
}

type Row = readonly [route: string, reference: string, difference: string, ...evidence: string[]];

const paging = { limit: '20', page: '1', sort: '-created_at' };
const uuid = '019582a6-27fc-731d-8b11-2f4dc7a8a8b1';

const queries: Record<string, Record<string, string>> = {
  'GET /v1/jobs': {
    ...paging,
    'filter[cpu_count]': '8,16',
    'filter[created_at]': '2023-01-01,2024-01-01',
    'filter[min_ram_gb]': '1',
    'filter[min_storage_gb]': '1',
    'filter[min_vram_gb]': '1',
    'filter[status]': 'PENDING,ASSIGNED,RUNNING',
    'filter[task]': 'BATCH',
    'filter[uuid]': uuid,
    'filter[recipe_uuid]': uuid,
  },
  'GET /v1/job-runs': { ...paging, 'filter[job_uuid]': uuid, 'filter[status]': 'RUNNING' },
  'GET /v1/job-recipes': { limit: '50', 'filter[is_official]': 'true' },
  'GET /v1/gpu-registry': { limit: '50', 'filter[only_available]': 'true', 'filter[min_vram_gb]': '16' },
  'GET /v1/compute/offers': {
    ...paging,
    'filter[cpu_count]': '1',
    'filter[gpu_count]': '1',
    'filter[gpu_name]': 'RTX 4090',
    'filter[gpu_registry_uuid]': uuid,
    'filter[min_vram_gb]': '1',
    'filter[min_ram_gb]': '1',
    'filter[min_storage_gb]': '1',
    'filter[allowed_region_codes]': 'us-east-1,eu-central-1',
    'filter[ignore_region_constraints]': 'true',
  },
  'GET /v1/compute/ledger/transactions': { limit: '50', sort: '-created_at' },
};

const known: readonly Row[] = [
  [
    'POST /v1/jobs',
    'D create',
    '201; `{recipe_uuid, …}` is 400 and names the way to cook; `Idempotency-Key` and `dry_run` added',
    'test/http/jobs.test.ts',
    'test/http/validation.test.ts',
    'test/http/market.test.ts',
  ],
  [
    'GET /v1/jobs',
    'C',
    'newest first; unknown filters are 400 and name the allowed ones; more filters',
    'test/http/lists.test.ts',
  ],
  ['GET /v1/jobs/{uuid}', 'C', 'a bare Job', 'test/http/jobs.test.ts'],
  [
    'PUT /v1/jobs/{uuid}/cancel',
    'D stop',
    '200 with the Job in every state; a job that had ended stays as it is',
    'test/http/stop.test.ts',
    'test/e2e/stop.test.ts',
  ],
  ['GET /v1/job-runs', 'D monitor', 'newest first, without logs', 'test/http/job-runs.test.ts'],
  [
    'GET /v1/jobs-runs',
    'D monitor',
    'the misspelt path of the older guide answers the same',
    'test/http/job-runs.test.ts',
  ],
  ['GET /v1/job-runs/{uuid}', 'D monitor', '', 'test/http/job-runs.test.ts'],
  ['GET /v1/job-recipes', 'C', 'your own, official and public ones', 'test/http/recipes.test.ts'],
  ['GET /v1/job-recipes/{uuid}', 'D recipe', '', 'test/http/recipes.test.ts'],
  ['POST /v1/job-recipes', 'I', 'path and body are ours', 'test/http/recipes.test.ts'],
  [
    'PUT /v1/job-recipes/{uuid}',
    'I',
    'path and body are ours; new content is a new version',
    'test/http/recipes.test.ts',
  ],
  [
    'PUT /v1/job-recipes/{uuid}/archive',
    'I',
    'path is ours; in the place of a delete',
    'test/http/recipes.test.ts',
  ],
  ['POST /v1/job-recipes/{uuid}/fork', 'I', 'path is ours', 'test/http/recipes.test.ts'],
  [
    'POST /v1/job-recipes/{uuid}/cook',
    'D cook',
    'takes the older and the newer body, `{}`, and `inputs`; 201',
    'test/http/recipes.test.ts',
    'test/http/recipe-cook.test.ts',
    'test/http/official-recipes.test.ts',
  ],
  ['GET /v1/gpu-registry', 'C', '', 'test/http/market.test.ts'],
  [
    'GET /v1/compute/offers',
    'D offers',
    'no workspace or profile restricts regions; always cheapest first, whatever sort asks; null asks for nothing; `filter[ignore_region_constraints]` needs cluster:admin',
    'test/http/market.test.ts',
  ],
  [
    'GET /v1/nodes',
    'D nodes',
    'nodes of the caller’s account',
    'test/http/node-hardware.test.ts',
    'test/http/nodes.test.ts',
  ],
  ['GET /v1/nodes/{uuid}', 'D node', '', 'test/http/node-hardware.test.ts'],
  ['GET /v1/compute/ledger/transactions', 'C', '', 'test/http/ledger.test.ts'],
  ['GET /v1/users/me', 'C', '', 'test/http/access.test.ts'],
  [
    'GET /v1/accounts/{uuid}/balance',
    'C',
    'uuid of the account or of one of its users',
    'test/http/access.test.ts',
    'test/http/ledger.test.ts',
  ],
  ['GET /.well-known/jwks', 'D overview', '', 'test/http/access-tokens.test.ts'],
];

/** What the reference lacks, or has in its console alone. */
const added: readonly Row[] = [
  ['POST /v1/jobs/{uuid}/renew', '', 'a job with renew_within_ms goes on', 'test/http/budget.test.ts'],
  ['POST /v1/jobs/cancel', '', 'stop every job that matches', 'test/http/bulk-stop.test.ts'],
  ['GET /v1/jobs/{uuid}/receipt', '', 'what was proved of the end', 'test/http/receipts.test.ts'],
  ['GET /v1/job-runs/{uuid}/receipt', '', 'what was proved of the end', 'test/http/receipts.test.ts'],
  ['GET /v1/jobs/{uuid}/events', '', 'list or server-sent events', 'test/http/events.test.ts'],
  ['GET /v1/events', '', 'list or server-sent events', 'test/http/events.test.ts'],
  ['POST /v1/stream-tickets', '', 'for a browser’s EventSource', 'test/http/events.test.ts'],
  [
    'GET /v1/job-runs/{uuid}/logs',
    '',
    'slices by byte, or server-sent events',
    'test/http/job-runs.test.ts',
    'test/http/events.test.ts',
  ],
  ['GET /v1/job-runs/{uuid}/stats', '', 'use over time', 'test/http/samples.test.ts'],
  ['POST /v1/job-runs/{uuid}/exec', '', 'a command in the container', 'test/http/exec.test.ts'],
  ['GET /v1/job-runs/{uuid}/files', '', 'files of the container', 'test/http/files.test.ts'],
  ['PUT /v1/job-runs/{uuid}/files', '', 'files of the container', 'test/http/files.test.ts'],
  [
    'POST /v1/nodes',
    '',
    'the reference registers with its node client, whose protocol is not public',
    'test/http/validation.test.ts',
  ],
  ['GET /v1/nodes/{uuid}/events', '', 'who changed a node, when and why', 'test/http/nodes.test.ts'],
  [
    'GET /v1/nodes/{uuid}/epochs',
    '',
    'weeks as the page on epochs has them, with hours and earnings',
    'test/http/epochs.test.ts',
  ],
  ['GET /v1/nodes/{uuid}/stats', '', 'load over time', 'test/http/samples.test.ts'],
  ['PUT /v1/nodes/{uuid}/cordon', '', 'operation of nodes', 'test/http/nodes.test.ts'],
  ['PUT /v1/nodes/{uuid}/uncordon', '', 'operation of nodes', 'test/http/nodes.test.ts'],
  ['PUT /v1/nodes/{uuid}/drain', '', 'operation of nodes', 'test/http/nodes.test.ts'],
  ['PUT /v1/nodes/{uuid}/remove', '', 'operation of nodes', 'test/http/nodes.test.ts'],
  ['PUT /v1/nodes/{uuid}/accept-restore', '', 'operation of nodes', 'test/http/restore.test.ts'],
  ['POST /v1/api-keys', '', 'in the console there', 'test/http/signing.test.ts', 'test/http/access.test.ts'],
  ['GET /v1/api-keys', '', 'in the console there', 'test/http/signing.test.ts'],
  ['GET /v1/api-keys/{uuid}', '', 'in the console there', 'test/http/access.test.ts'],
  ['PUT /v1/api-keys/{uuid}', '', 'in the console there', 'test/http/access.test.ts'],
  ['POST /v1/api-keys/{uuid}/rotate', '', 'a new secret, with overlap', 'test/http/access.test.ts'],
  ['DELETE /v1/api-keys/{uuid}', '', 'in the console there', 'test/http/signing.test.ts'],
  ['POST /v1/accounts', '', 'accounts of one cluster', 'test/http/access.test.ts'],
  ['GET /v1/accounts', '', 'accounts of one cluster', 'test/http/access.test.ts'],
  ['GET /v1/accounts/{uuid}', '', 'accounts of one cluster', 'test/http/two-accounts.test.ts'],
  ['POST /v1/users', '', 'users of an account', 'test/http/access.test.ts'],
  ['GET /v1/users', '', 'users of an account', 'test/http/access.test.ts'],
  ['GET /v1/users/{uuid}', '', 'users of an account', 'test/http/access.test.ts'],
  ['PUT /v1/users/{uuid}', '', 'users of an account', 'test/http/access.test.ts'],
  ['DELETE /v1/users/{uuid}', '', 'users of an account', 'test/http/access.test.ts'],
  ['GET /v1/audit-log', '', 'every change of rights', 'test/http/audit.test.ts'],
  ['GET /v1/audit-log/verification', '', 'every change of rights', 'test/http/audit.test.ts'],
  ['GET /v1/cluster/rate-limit', '', '', 'test/http/rate-limit.test.ts'],
  ['PUT /v1/cluster/rate-limit', '', '', 'test/http/rate-limit.test.ts'],
  ['GET /v1/gpu-registry/{uuid}', '', '', 'test/http/market.test.ts'],
  ['POST /v1/gpu-registry', '', 'the reference keeps its registry itself', 'test/http/market.test.ts'],
  ['PUT /v1/gpu-registry/{uuid}', '', 'the reference keeps its registry itself', 'test/http/market.test.ts'],
  ['GET /v1/compute/rates', '', 'prices of what no registry entry prices', 'test/http/market.test.ts'],
  ['PUT /v1/compute/rates', '', 'prices of what no registry entry prices', 'test/http/market.test.ts'],
  ['GET /v1/compute/ledger/verification', '', 'the ledger computed again', 'test/http/ledger.test.ts'],
  [
    'POST /v1/accounts/{uuid}/credits',
    '',
    'credits come from the admin, not from a payment',
    'test/http/ledger.test.ts',
  ],
  ['PUT /v1/accounts/{uuid}/prepaid', '', 'who pays in advance', 'test/http/prepaid.test.ts'],
  [
    'GET /v1/compute/billing',
    '',
    'settings of money',
    'test/http/prepaid.test.ts',
    'test/http/epochs.test.ts',
  ],
  [
    'PUT /v1/compute/billing',
    '',
    'settings of money',
    'test/http/prepaid.test.ts',
    'test/http/epochs.test.ts',
  ],
  ['POST /v1/webhooks', '', 'signed webhooks', 'test/http/webhooks.test.ts'],
  ['GET /v1/webhooks', '', 'signed webhooks', 'test/http/webhooks.test.ts'],
  ['GET /v1/webhooks/{uuid}', '', 'signed webhooks', 'test/http/webhooks.test.ts'],
  ['PUT /v1/webhooks/{uuid}', '', 'signed webhooks', 'test/http/webhooks.test.ts'],
  ['DELETE /v1/webhooks/{uuid}', '', 'signed webhooks', 'test/http/webhooks.test.ts'],
  ['POST /v1/webhooks/{uuid}/test', '', 'signed webhooks', 'test/http/webhooks.test.ts'],
  ['GET /v1/webhooks/{uuid}/deliveries', '', 'signed webhooks', 'test/http/webhooks.test.ts'],
  [
    'POST /v1/webhooks/{uuid}/deliveries/{delivery_uuid}/redeliver',
    '',
    'signed webhooks',
    'test/http/webhooks.test.ts',
  ],
  ['POST /v1/sign-in', '', 'tokens exist there, the way to them is not public', 'test/http/sign-in.test.ts'],
  [
    'POST /v1/sign-in/refresh',
    '',
    'tokens exist there, the way to them is not public',
    'test/http/sign-in.test.ts',
  ],
  ['POST /v1/sign-out', '', 'tokens exist there, the way to them is not public', 'test/http/sign-in.test.ts'],
  [
    'GET /v1/sign-in/oidc',
    '',
    'any OpenID Connect provider, where the reference has its own',
    'test/http/sign-in-oidc.test.ts',
  ],
  [
    'GET /v1/sign-in/oidc/callback',
    '',
    'any OpenID Connect provider, where the reference has its own',
    'test/http/sign-in-oidc.test.ts',
  ],
  [
    'POST /v1/sign-in/oidc/token',
    '',
    'any OpenID Connect provider, where the reference has its own',
    'test/http/sign-in-oidc.test.ts',
  ],
  ['GET /v1/sessions', '', 'sign-ins that are open', 'test/http/sign-in.test.ts'],
  ['DELETE /v1/sessions/{uuid}', '', 'sign-ins that are open', 'test/http/sign-in.test.ts'],
];

export const endpoints: readonly Endpoint[] = [...known, ...added].map(
  ([route, reference, difference, ...evidence]) => ({
    ...{ route, reference, difference, evidence },
    ...(queries[route] === undefined ? {} : { query: queries[route] }),
  }),
);
