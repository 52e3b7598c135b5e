// What the reference says beside fields: signing, the life of a job, and what a container finds; with ours and its evidence.

export interface Contract {
  title: string;
  rows: readonly ContractRow[];
}

/** What, the reference with its mark, ours, the difference (empty: none), evidence. */
export type ContractRow = readonly [
  what: string,
  reference: string,
  ours: string,
  difference: string,
  ...evidence: string[],
];

const signing: Contract = {
  title: 'Signing',
  rows: [
    [
      'headers',
      'X-API-Key, X-Time, X-Nonce, X-Signature (D authentication)',
      'the same, in any case',
      '',
      'test/http/signing.test.ts',
    ],
    [
      'canonical string',
      'seven parts joined by a bar (D authentication)',
      'the same',
      '',
      'test/http/signing.test.ts',
      'src/domain/canonical-request.test.ts',
    ],
    ['HMAC key', 'the secret key as text (D authentication)', 'the same', '', 'test/http/signing.test.ts'],
    ['clock window', '5 minutes to both sides (D overview)', 'the same', '', 'test/http/signing.test.ts'],
    [
      'nonce',
      '16 bytes as 32 hexadecimal digits; one page says 32 bytes (D)',
      'both, taken once per key',
      'remembered for 10 minutes, which is longer than the clock window',
      'test/http/signing.test.ts',
      'test/http/open-questions.test.ts',
    ],
    [
      'query',
      'sorted by key, then value (D authentication)',
      'the RFC 3986, form and WHATWG encodings of the sorted query',
      'every encoding that clients use is accepted',
      'src/domain/canonical-query.test.ts',
      'test/http/signing.test.ts',
    ],
    [
      'body',
      'parsed, keys sorted, compact, ASCII (D authentication)',
      'that, the same in raw UTF-8, and the bytes as they came',
      'every form that clients use is accepted',
      'src/domain/canonical-json.test.ts',
      'test/http/signing.test.ts',
    ],
    [
      'token',
      'a JWT whose claim hmac_key is first part and key (D overview)',
      'the same; without signature headers the token alone is enough',
      'Bearer alone added',
      'test/http/sign-in.test.ts',
    ],
    [
      'keys',
      'name, preset or permissions, expiry, allowed addresses (D API keys)',
      'the same, with a rate limit and a user',
      'made by API and command line',
      'test/http/access.test.ts',
    ],
  ],
};

const life: Contract = {
  title: 'Life of a job',
  rows: [
    [
      'states',
      'PENDING, ASSIGNED, RUNNING, COMPLETED, CANCELLED, FAILED (D monitor)',
      'the same',
      '',
      'src/domain/transition.test.ts',
    ],
    [
      'BATCH',
      'ends with its container or its run timeout; exit code 0 is COMPLETED (D job types)',
      'the same',
      '',
      'test/http/scheduler.test.ts',
      'test/http/hub.test.ts',
    ],
    [
      'PERSISTENT',
      'runs until it is stopped (D job types)',
      'the same; a container that ends by itself ends the job by its exit code',
      '',
      'src/domain/transition.test.ts',
    ],
    [
      'max_timeout_start_ms',
      'from the assignment until it is ready, past it the job fails (D job types)',
      'the same; start_timeout_waits_for_pull counts from the last byte pulled',
      'added: waiting for the pull',
      'test/http/scheduler.test.ts',
      'src/domain/image-start-deadline.test.ts',
    ],
    [
      'GPUs',
      'nodes are given whole, at the price of all their GPUs (C)',
      'as many GPUs as asked for, at their price',
      'one GPU of a node of six costs one',
      'test/http/scheduler.test.ts',
      'test/http/market.test.ts',
    ],
    [
      'billing',
      'actual execution time (D job types); a client saw it from creation on (C)',
      'from the start of the container to its observed end',
      'preparation costs nothing',
      'test/http/ledger.test.ts',
      'test/http/ledger-history.test.ts',
    ],
    [
      'epochs',
      'weeks from Sunday 00:00 UTC: ACTIVE, FINALIZING, FINALIZED (D epochs)',
      'the same; earnings by rates of the operator',
      'no tokens, no multipliers',
      'test/http/epochs.test.ts',
      'src/domain/epoch.test.ts',
    ],
  ],
};

const container: Contract = {
  title: 'What a container finds',
  rows: [
    [
      'SSH_PUBKEY',
      'the job’s sshkey (C)',
      'the same',
      '',
      'test/e2e/reference-images.test.ts',
      'test/e2e/ssh.test.ts',
    ],
    [
      'CONTAINER_ACCESS_TOKEN',
      'made by the platform, also in container_access_tokens (C)',
      'the same, letters and digits',
      '',
      'test/e2e/reference-images.test.ts',
      'test/gateway/server.test.ts',
    ],
    [
      'env',
      'the job’s (D create)',
      'the same; FLOTILLA_JOB_UUID and FLOTILLA_RUN_UUID beside it',
      'added',
      'test/e2e/limits.test.ts',
      'test/e2e/reference-images.test.ts',
    ],
    [
      'command',
      'the image’s own (C)',
      'the same, unless command or entrypoint replace it',
      'added',
      'test/http/jobs.test.ts',
      'test/agent/run.test.ts',
    ],
    [
      'allowed_ips',
      'ranges that may connect (D create)',
      'the same, before any byte is passed on',
      'refusals are counted',
      'test/gateway/door.test.ts',
      'test/e2e/gateway.test.ts',
    ],
    ['SSH user', 'what the image has, duser in the vendor’s (C)', 'the same', '', 'test/e2e/ssh.test.ts'],
  ],
};

export const contracts: readonly Contract[] = [signing, life, container];
