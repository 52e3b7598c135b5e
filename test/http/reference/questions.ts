// What the reference leaves open, what Flotilla does there, and the tests that hold it to that.

/** Question, our answer, evidence. */
export type QuestionRow = readonly [question: string, answer: string, ...evidence: string[]];

export const questions: readonly QuestionRow[] = [
  [
    'Where is the OpenAPI document?',
    '`/openapi.json` (OpenAPI 3.1), and a page to read at `/docs`. Every answer of the test suite is held against it.',
    'test/http/openapi.test.ts',
  ],
  [
    'How do nodes talk to the server?',
    'By one WebSocket that the agent dials, `/v1/agent/connect`, signed with the node’s key: hello, heartbeat every 3 s, orders, reports, logs with offsets. A node refuses no work; it is given what fits. The reference’s own node program does not work with Flotilla.',
    'test/http/hub.test.ts',
    'test/agent/recovery.test.ts',
  ],
  [
    'Which status and code has which refusal?',
    'As in the table of error codes. A wrong signature is 401 `signature_invalid` with the canonical string that the server computed, a nonce shown twice 401 `nonce_reused`, a missing permission or address 403, no credit 402.',
    'test/http/signing.test.ts',
    'test/http/authorisation.test.ts',
    'test/http/prepaid.test.ts',
    'test/http/rate-limit.test.ts',
  ],
  [
    'What does Stop Job of an ended job answer?',
    '200 with the job as it is; the first reason stands. Unknown jobs and those of another account are 404.',
    'test/http/stop.test.ts',
  ],
  [
    'Is `max_timeout_run_ms` required for BATCH, is `task` optional?',
    'Required, at least 60000, as documented: a limit that nobody chose would end work. `task` is optional and BATCH then, since older guides omit it.',
    'test/http/reference-fields.test.ts',
    'test/http/validation.test.ts',
    'src/api/job-request.test.ts',
  ],
  [
    'How long may title, env and ports be?',
    'Title 256 characters, description 4096, env 128 KiB in all, 64 ports, 256 address ranges, 16 volumes, 36 regions, body 1 MiB.',
    'test/http/open-questions.test.ts',
    'test/http/validation.test.ts',
    'test/http/signing.test.ts',
  ],
  ['What is `imagesrc`?', 'Accepted, kept and shown; it has no effect.', 'test/http/jobs.test.ts'],
  [
    'How are `volumes` mounted?',
    'The file tree of the image is copied into a fresh volume of the run, which may write to it and takes it away with itself.',
    'test/images/volumes.test.ts',
    'src/api/volume-rules.test.ts',
  ],
  [
    'Which ports are published?',
    '`ports` where given, `[]` for none; absent or null the EXPOSE list of the image. 22 always where `sshkey` is given, so that no list of ports locks anybody out. 22 is not needed for the others.',
    'test/e2e/ssh.test.ts',
    'test/gateway/ports.test.ts',
  ],
  [
    'What is in `container_access_tokens`?',
    '`{token, user}`, one for each run, made with the run and closed with it.',
    'test/gateway/server.test.ts',
    'test/e2e/reference-images.test.ts',
  ],
  [
    'What is `logs`?',
    'One text, stdout and stderr as they came, on GET of one run: its first 4 MiB and last 12 MiB with the gap stated, kept for 30 days. `/logs` reads slices or follows.',
    'test/http/job-runs.test.ts',
    'test/http/events.test.ts',
  ],
  [
    'What is a GPU registry entry?',
    'uuid, vendor, name, aliases, VRAM as sold, price of one card an hour or null, how many there are and how many are free. Models seen on a node and not known are added without a price.',
    'test/http/market.test.ts',
    'src/domain/gpu-registry.test.ts',
  ],
  [
    'What is the `availability` of an offer?',
    'Free and all cards of the model on that node, and free CPUs.',
    'test/http/market.test.ts',
  ],
  [
    'What are accounts, workspaces and consumer profiles?',
    'Accounts own jobs, recipes, keys, nodes and credits; users of an account have a role (admin, consumer, operator) that bounds their keys. There are no workspaces and no profiles; `filter[allowed_region_codes]` is taken as it comes.',
    'test/http/access.test.ts',
    'test/http/two-accounts.test.ts',
  ],
  [
    'What are the names of permissions?',
    '`resource:verb`, listed with `POST /v1/api-keys` in the document; presets admin, consumer, operator and node.',
    'test/http/access.test.ts',
    'test/http/authorisation.test.ts',
  ],
  [
    'What is in a ledger transaction?',
    'Kind (credit or usage), signed amount, balance after it, run and job it pays for, milliseconds billed. Amounts are whole micro-dollars.',
    'test/http/ledger.test.ts',
    'test/http/ledger-history.test.ts',
  ],
  [
    'How are recipes made, changed and deleted?',
    'POST, PUT (a new version when payload or inputs change; jobs keep theirs), `/archive` in the place of a delete, `/fork`. Visibility is PRIVATE, PUBLIC or ARCHIVED.',
    'test/http/recipes.test.ts',
  ],
  [
    'How do values of `input_schema` enter cook?',
    'In `inputs`, by key; they fill `${key}` in the payload, a whole value with its type. Defaults stand in for what is absent; every wrong one is told by its key. Secrets are never shown again.',
    'test/http/recipes.test.ts',
    'test/http/recipe-cook.test.ts',
    'src/domain/recipe.test.ts',
  ],
  [
    'What does `max_node_count` above 1 do?',
    'It is a maximum: the job runs on one node. Nothing is refused.',
    'test/http/open-questions.test.ts',
  ],
  [
    'What counts as a retry?',
    'A run that failed, also by its start or run timeout. The job returns to PENDING with a new deadline for finding a node, and another node is preferred. No node in time is no failed run: the job fails. Where retries or on_node_lost ask for it, the loss of a node is made good beside the count, at most 3 times.',
    'test/http/scheduler.test.ts',
    'test/http/hub.test.ts',
    'src/domain/transition.test.ts',
  ],
  [
    'How long is a job CANCELLING?',
    'Never: it is CANCELLED in the answer to the stop. Its run is CANCELLING until the node proved the end; when the node is gone the receipt says unverified, and the proof is added when it comes back.',
    'test/http/stop.test.ts',
    'test/http/receipts.test.ts',
  ],
  [
    'Which region codes are there?',
    '36, named as AWS names them: those documented, and the others of its public list. Other words are refused.',
    'test/http/open-questions.test.ts',
    'test/http/validation.test.ts',
    'test/http/scheduler.test.ts',
  ],
  [
    'What is in `current_hardware`, what is `reputation`?',
    'CPUs, GPUs, drives and memory as the agent found them. Reputation goes from 0 to 100, begins at 50, rises with kept promises and falls with runs that the node lost; there is no benchmark.',
    'test/http/node-hardware.test.ts',
    'src/domain/reputation.test.ts',
  ],
  [
    'How does one get a token, and how long does it live?',
    '`POST /v1/sign-in` signed with a key, or any OpenID Connect provider in the browser. It lives for 10 minutes, is renewed with a refresh token that works once, and is sent as `Authorization: Bearer`.',
    'test/http/sign-in.test.ts',
    'test/http/sign-in-oidc.test.ts',
  ],
  [
    'Do arrays in a query repeat their key or use commas?',
    'Both are read, and mean any of the values. Signatures are accepted over every encoding in use.',
    'src/api/list-query.test.ts',
    'test/http/signing.test.ts',
  ],
  [
    'Which client libraries work?',
    'Those that sign as documented. Flotilla has its own, `flotilla/sdk`, and tests a client in plain Python that knows nothing of it.',
    'src/sdk/client.test.ts',
    'test/e2e/python.test.ts',
  ],
];
