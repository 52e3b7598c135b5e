// Over a thousand seeded malformed requests over every route: 4xx with the envelope, and the database as it was.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { test } from 'node:test';
import { Compile } from 'typebox/compile';
import { ErrorBody } from '../../src/protocol/error.ts';
import { aJob, aNode } from '../support/builders.ts';
import { place } from '../support/runs.ts';
import { startTestServer } from '../support/server.ts';
import { authorisedRoutes } from './authorisation-routes.ts';

const seed = Number(process.env.FLOTILLA_TEST_SEED ?? 20_260_131);
const requestCount = 1_500;
const server = await startTestServer({ hasScheduler: false, trustedProxies: ['127.0.0.1'] });
const { admin, database } = server;
const envelope = Compile(ErrorBody);

/** mulberry32: small, seeded, good enough to pick by. */
function createRandom(state: number) {
  let current = state >>> 0;
  const next = () => {
    current = (current + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(current ^ (current >>> 15), current | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  const below = (limit: number) => Math.floor(next() * limit);
  return { below, pick: <T>(items: readonly T[]): T => items[below(items.length)] as T };
}
type Random = ReturnType<typeof createRandom>;

interface Malformed {
  method: string;
  path: string;
  raw: Buffer;
  headers: Record<string, string>;
  kind: string;
}

/** Values no field of ours takes in that place, as JSON text. */
const wrongValues = [
  ...['"x"', '[]', '{}', '[[]]', '-1', '0.5', '1e308', '1e999', '-1e999', '123456789012345678901234567890'],
  ...[
    'true',
    'false',
    '""',
    '"\\u0000"',
    '"\\ud800"',
    '"\\udc00x"',
    '{"__proto__":{"a":1}}',
    '[null]',
    '-0.0001',
  ],
  ...[
    '{"constructor":{"prototype":{}}}',
    '"\\u202e"',
    `"${'A'.repeat(5_000)}"`,
    '[1,2,3]',
    '9007199254740993',
  ],
];
const bodyFields: Record<string, readonly string[]> = {
  'POST /v1/jobs': [
    ...['task', 'title', 'cpu_count', 'gpu_count', 'gpu_registry_uuid', 'min_ram_gb', 'min_storage_gb'],
    ...['min_vram_gb', 'max_node_count', 'max_retry_count', 'max_timeout_assign_ms', 'max_timeout_start_ms'],
    ...[
      'max_timeout_run_ms',
      'on_node_lost',
      'max_cost_usd',
      'renew_within_ms',
      'idle_timeout_ms',
      'allowed_region_codes',
      'image_size_bytes',
      'labels',
      'priority',
      'parameters',
    ],
  ],
  'PUT /v1/jobs/{uuid}/cancel': ['reason', 'stop_grace_ms', 'wait_ms'],
  'POST /v1/jobs/{uuid}/renew': ['renew_within_ms'],
  'PUT /v1/compute/billing': ['prepaid', 'node_available_usd', 'node_prepared_usd', 'node_worked_usd'],
  'PUT /v1/accounts/{uuid}/prepaid': ['prepaid'],
  'POST /v1/jobs/cancel': ['filter', 'all', 'dry_run', 'reason', 'stop_grace_ms'],
  'POST /v1/nodes': ['name', 'region_code', 'labels'],
  'PUT /v1/nodes/{uuid}/cordon': ['reason'],
  'PUT /v1/nodes/{uuid}/uncordon': ['reason'],
  'PUT /v1/nodes/{uuid}/accept-restore': ['reason'],
  'PUT /v1/nodes/{uuid}/drain': ['reason', 'deadline_ms'],
  'PUT /v1/nodes/{uuid}/remove': ['reason', 'force'],
  'POST /v1/sign-in': ['permissions'],
  'POST /v1/api-keys': ['name', 'preset', 'permissions', 'expires_at', 'allowed_ips'],
};
const containerFields = [
  ...[
    'image',
    'tag',
    'host',
    'ports',
    'env',
    'allowed_ips',
    'volumes',
    'command',
    'entrypoint',
    'stop_signal',
  ],
  ...['stop_grace_ms', 'sshkey', 'secret'],
];

/** A body that is malformed for certain: `spoilt` stands beside whatever else is wrong, and no field has its name. */
function spoiltObject(route: string, random: Random): string {
  const fields = bodyFields[route] ?? [];
  const chosen = Array.from({ length: 1 + random.below(4) }, () => random.pick(fields));
  const entries = chosen.map((name) => `${JSON.stringify(name)}:${random.pick(wrongValues)}`);
  if (route === 'POST /v1/jobs' && random.below(2) === 0) {
    const inner = Array.from(
      { length: 3 },
      () => `"${random.pick(containerFields)}":${random.pick(wrongValues)}`,
    );
    entries.push(`"parameters":{"type":"docker","parameters":{${inner.join(',')}}}`);
  }
  return `{${entries.join(',')},"spoilt":${random.pick(wrongValues)}}`;
}

const bodyKinds: Record<string, (route: string, random: Random) => Buffer | string> = {
  'wrong types': spoiltObject,
  'unknown fields': (_, random) => `{"${randomText(random)}":1,"__proto__":{"title":"x"},"constructor":2}`,
  'duplicate keys': (route, random) => spoiltObject(route, random).replace('{', '{"spoilt":1,"spoilt":2,'),
  'deep nesting': (_, random) => `${'[{"a":'.repeat(40 + random.below(5_000))}`,
  'deep but closed': (_, random) => nested(65 + random.below(2_000)),
  'deep objects in a field': (_, random) => `{"labels":${nested(70 + random.below(500))}}`,
  'huge numbers': () =>
    '{"cpu_count":1e999,"gpu_count":-1e999,"min_ram_gb":99999999999999999999,"spoilt":1e400}',
  'bad UTF-8': (_, random) => Buffer.concat([Buffer.from('{"title":"'), badUtf8(random), Buffer.from('"}')]),
  'NUL in text': () => '{"title":"a\\u0000b","name":"a\\u0000b","reason":"a\\u0000b"}',
  'NUL in a key': () => '{"labels":{"a\\u0000b":"c"},"spoilt\\u0000":1}',
  'half surrogates': () => '{"title":"\\ud800","name":"\\udfff","reason":"x\\ud83d"}',
  'cut JSON': (route, random) => {
    const text = spoiltObject(route, random);
    return text.slice(0, 1 + random.below(text.length - 1));
  },
  'not an object': (_, random) => random.pick(['[]', '7', '"x"', 'true', '[{}]', '1e999', '""']),
  'not JSON': (_, random) => random.pick(['{', '}', 'nul', "{'a':1}", '{"a":NaN}', '{"a":01}', ',']),
  'random bytes': (_, random) =>
    Buffer.from(Array.from({ length: 1 + random.below(300) }, () => random.below(256))),
  oversized: () => Buffer.alloc(1_048_577, 0x20),
  'many wrong items': (_, random) => `{"spoilt":[${'0,'.repeat(random.below(20_000))}0]}`,
  'wrong content type': (route, random) => spoiltObject(route, random),
};

const queries = [
  ...[
    'limit=0',
    'limit=-1',
    'limit=1e9',
    'limit=',
    'limit=%00',
    'limit=20%00',
    'page=0',
    'page=99999999999999999999',
  ],
  ...['sort=id', 'sort=created_at%00', 'filter[status]=NOPE', 'filter[uuid]=%27', 'filter[created_at]=%00'],
  ...['filter[created_at]=9999999-01-01', 'filter[cpu_count]=1e999', 'filter[cpu_count]=NaN', 'filter[]=x'],
  ...[
    'filter[__proto__]=x',
    'filter[constructor]=x',
    '__proto__=1',
    '%00=1',
    '%ff=%fe',
    'a=%zz',
    'offset=-1',
  ],
  ...['filter[label]=a%00=b', 'filter[label]=%00', 'filter[label]=novalue', 'filter[status]=', 'offset=1e3'],
  ...[
    'filter[status]=PENDING&filter[nope]=1',
    '=',
    '&&&spoilt',
    'limit[]=1',
    'limit=%F0%9F%98%80',
    'spoilt=%ED%A0%80',
  ],
];
const badPaths = [
  ...[
    '%zz',
    '%',
    '%00',
    '%ff',
    '..%2f..%2fetc',
    'x',
    '0',
    '%2e%2e',
    "'%3bdrop%20table%20jobs",
    'a'.repeat(250),
  ],
  ...[
    '00000000-0000-0000-0000-00000000000g',
    '{uuid}',
    'null',
    '%F0%9F%98%80',
    '019582a6-27fc-731d-8000-00000000000',
  ],
];

function nested(depth: number): string {
  return `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;
}

function badUtf8(random: Random): Buffer {
  return Buffer.from(
    random.pick(['ff', 'c328', 'e28228', 'f0288cbc', 'eda080', 'c0af', 'f8a1a1a1a1']),
    'hex',
  );
}

function randomText(random: Random): string {
  return Array.from({ length: 1 + random.below(80) }, () => String.fromCharCode(97 + random.below(26))).join(
    '',
  );
}

const ids: Record<string, string> = {};

function malformed(route: string, random: Random): Malformed {
  const [method = '', template = ''] = route.split(' ');
  const id = ids[template.split('/')[2] ?? ''] ?? '';
  const good = { method, path: template.replace('{uuid}', id), raw: Buffer.alloc(0), headers: {} };
  const hasBody = route in bodyFields;
  const hasId = template.includes('{uuid}');
  const isList = method === 'GET' && !hasId;
  const hasQuery = isList || template.endsWith('/logs');
  const choice = random.below(10);
  if (hasId && (choice < 2 || !(hasBody || hasQuery))) return badId(template, { good, random });
  if (hasBody) return badBody(route, { good, random });
  return badQuery({ good, random });
}

interface Draft {
  good: Omit<Malformed, 'kind'>;
  random: Random;
}

function badId(template: string, { good, random }: Draft): Malformed {
  return { ...good, kind: 'bad id', path: template.replace('{uuid}', random.pick(badPaths)) };
}

function badBody(route: string, { good, random }: Draft): Malformed {
  const kind = random.pick(Object.keys(bodyKinds));
  const raw = Buffer.from(bodyKinds[kind]?.(route, random) ?? '');
  const types = ['text/plain', 'application/xml', 'application/octet-stream', 'text/json', ''];
  const type = kind === 'wrong content type' ? random.pick(types) : 'application/json';
  return { ...good, raw, kind, headers: { 'Content-Type': type } };
}

function badQuery({ good, random }: Draft): Malformed {
  const isGiant = random.below(20) === 0;
  const extra = isGiant ? `spoilt=${'a'.repeat(10_000)}` : 'spoilt=1';
  const kind = isGiant ? 'giant query' : 'bad query';
  return { ...good, kind, path: `${good.path}?${random.pick(queries)}&${extra}` };
}

/** One in six is not signed for its bytes: it is refused at the door. */
function unsigned(request: Malformed, random: Random): Record<string, string | undefined> {
  const signed = admin.sign(request.method, request.path, { raw: request.raw });
  const header = random.pick(['X-API-Key', 'X-Time', 'X-Nonce', 'X-Signature']);
  const value = random.pick([
    undefined,
    '',
    'x',
    '-1',
    '0'.repeat(64),
    "' or 1=1 --",
    '9'.repeat(400),
    '%00',
  ]);
  return { ...signed, [header]: value };
}

/** What every table holds, but the nonces that were spent. */
async function fingerprint(): Promise<Map<string, string>> {
  // Leaderships are renewed all the while, whatever is asked.
  const tables = await database.query<{ name: string }>(
    `select tablename as name from pg_tables where schemaname = 'public' and tablename not like 'nonces%'
       and tablename <> 'leaderships' order by 1`,
  );
  const hashes = new Map<string, string>();
  for (const { name } of tables) {
    const rows = await database.query<{ row: string }>(`select t::text as row from ${name} t order by 1`);
    const text = rows.map(({ row }) => row).join('\n');
    hashes.set(name, `${rows.length} ${createHash('sha256').update(text).digest('hex')}`);
  }
  return hashes;
}

async function prepare(): Promise<void> {
  const node = await aNode(server);
  const job = await admin.createJob(aJob());
  const run = await place(server, job.uuid, node.id);
  const key = await server.createKey();
  Object.assign(ids, { jobs: job.uuid, 'job-runs': run.id, nodes: node.id, 'api-keys': key.id });
}

test(`${requestCount} malformed requests over every route (seed ${seed})`, async (context) => {
  await prepare();
  const random = createRandom(seed);
  const before = await fingerprint();
  const counts: Record<string, number> = {};
  const count = (name: string) => {
    counts[name] = (counts[name] ?? 0) + 1;
  };
  // Several at once: what one request does must not spoil its neighbours.
  const requests = Array.from({ length: requestCount }, (_, index) => {
    const request = malformed(authorisedRoutes[index % authorisedRoutes.length] as string, random);
    const isSigned = random.below(6) > 0;
    return { request, isSigned, index, door: isSigned ? {} : unsigned(request, random) };
  });
  const sendNext = async (): Promise<void> => {
    for (let next = requests.shift(); next !== undefined; next = requests.shift()) {
      const { request, isSigned, door, index } = next;
      const address = { 'X-Forwarded-For': `10.0.${index % 200}.1` };
      const headers = { ...request.headers, ...door, ...address };
      const { status, body } = await admin.send(request.method, request.path, { raw: request.raw, headers });
      const told = `${request.method} ${request.path.slice(0, 90)} (${request.kind}, ${index}) gave ${status}`;
      assert.ok(status >= 400 && status < 500, `${told}: ${request.raw.toString('latin1').slice(0, 200)}`);
      assert.ok(envelope.Check(body), `${told} without the envelope: ${JSON.stringify(body).slice(0, 200)}`);
      count(String(status));
      count(isSigned ? 'signed' : 'unsigned');
      if (isSigned && status !== 401) count('past the signature');
      count(`kind: ${request.kind}`);
    }
  };
  await Promise.all(Array.from({ length: 8 }, sendNext));
  context.diagnostic(JSON.stringify(counts));
  assert.ok((counts['past the signature'] ?? 0) >= requestCount * 0.8, JSON.stringify(counts));
  for (const kind of Object.keys(bodyKinds)) assert.ok(counts[`kind: ${kind}`], `${kind} occurred`);
  for (const status of [400, 401, 404, 413, 415]) assert.ok(counts[status], `${status} occurred`);
  assert.deepEqual(await fingerprint(), before);
  assert.deepEqual(
    server.logLines.filter((line) => /"level":[56]0/.test(line)),
    [],
  );
  assert.equal((await admin.getJob(ids.jobs ?? '')).status, 'ASSIGNED');
});

test('queries that are wrong in one place alone are refused for that', async () => {
  const alone = queries.filter((query) => !/offset|^&|^filter\[status\]=$/.test(query));
  for (const query of [...alone, 'filter[label]=a=b%00']) {
    const refusal = await admin.refusal('GET', `/v1/jobs?${query}`);
    assert.deepEqual([refusal.status, refusal.code], [400, 'validation_failed'], query);
  }
  for (const query of ['offset=-1', 'offset=1e3', 'limit=0', 'limit=99999999', 'offset=%00', 'tail=1']) {
    const refusal = await admin.refusal('GET', `/v1/job-runs/${ids['job-runs']}/logs?${query}`);
    assert.deepEqual([refusal.status, refusal.code], [400, 'validation_failed'], query);
  }
});

test('what is hardly HTTP gets a 4xx too, and the server lives on', async () => {
  const head = 'Host: x\r\nConnection: close\r\n';
  const requests = [
    `FOO /v1/jobs HTTP/1.1\r\n${head}\r\n`,
    `TRACE /v1/jobs HTTP/1.1\r\n${head}\r\n`,
    `PATCH /v1/jobs HTTP/1.1\r\n${head}\r\n`,
    `OPTIONS * HTTP/1.1\r\n${head}\r\n`,
    `GET /v1/jobs%zz HTTP/1.1\r\n${head}\r\n`,
    `GET //v1/jobs HTTP/1.1\r\n${head}\r\n`,
    `GET /v1/../v1/jobs HTTP/1.1\r\n${head}\r\n`,
    `POST /v1/jobs HTTP/1.1\r\n${head}Content-Length: nine\r\n\r\n`,
    `POST /v1/jobs HTTP/1.1\r\n${head}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello`,
    `POST /v1/jobs HTTP/1.1\r\n${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
    `POST /v1/jobs HTTP/1.1\r\n${head}Content-Type: ;;;\r\nContent-Length: 2\r\n\r\n{}`,
    `POST /v1/jobs HTTP/1.1\r\n${head}Content-Type: application/json\r\nContent-Length: 99999999\r\n\r\n{}`,
    `GET /v1/jobs HTTP/1.1\r\n${head}X-Big: ${'a'.repeat(100_000)}\r\n\r\n`,
    `GET /v1/jobs HTTP/9.9\r\n${head}\r\n`,
    `${randomBytes(64).toString('latin1')}\r\n\r\n`,
  ];
  for (const text of requests) {
    const answer = await exchange(text);
    assert.match(answer, /^HTTP\/1\.1 4\d\d/, text.slice(0, 80));
    assert.match(answer, /"error":\{"code":"/, text.slice(0, 80));
  }
  assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
});

function exchange(text: string): Promise<string> {
  const { hostname, port } = new URL(server.url);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect(Number(port), hostname, () => socket.write(Buffer.from(text, 'latin1')));
    socket.setTimeout(10_000, () => socket.destroy(new Error(`no answer to ${text.slice(0, 80)}`)));
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', (error) => (chunks.length > 0 ? undefined : reject(error)));
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')));
  });
}
