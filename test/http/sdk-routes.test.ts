// The SDK against the OpenAPI document: every operation has a method, and every method asks for an operation.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { after, test } from 'node:test';
import { createClient } from '../../src/sdk/client.ts';
import { ApiError } from '../../src/sdk/errors.ts';
import { endSession, refreshSession, sessionForCode } from '../../src/sdk/sign-in.ts';
import { fetchOpenApi } from '../support/openapi-check.ts';
import { startTestServer } from '../support/server.ts';

const { url } = await startTestServer({ hasScheduler: false });
const document = await fetchOpenApi(url);
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
);

/** Operations that no program asks for by this client, each with its reason. */
const withoutMethod: Record<string, string> = {
  'GET /v1/jobs-runs': 'the misspelt name of /v1/job-runs, for clients that use it',
  'GET /v1/sign-in/oidc': "a browser's way to the provider",
  'GET /v1/sign-in/oidc/callback': "a browser's way back",
};
/** Not of the API: for load balancers. */
const probes = /^GET \/(healthz|readyz)$/;

const uuid = '019582a6-27fc-731d-8d25-736052a00000';
const asked: string[] = [];
const recorder = createServer((request, response) => {
  asked.push(`${request.method} ${request.url?.split('?')[0]}`);
  request.resume();
  response.writeHead(418).end();
});
after(() => {
  recorder.closeAllConnections();
  recorder.close();
});

/** Arguments of methods that take more than uuids. */
const given: Record<string, unknown[]> = {
  'runs.followLogs': [uuid, () => {}],
  'runs.exec': [uuid, { command: ['true'] }],
  'runs.writeFiles': [uuid, '/', Readable.from(['tar'])],
};
/** Not one request each: they are made of others, or close. */
const composed = new Set(['request', 'close', 'jobs.changes', 'jobs.wait']);

function methodsOf(part: object, prefix = ''): [name: string, method: (...args: unknown[]) => unknown][] {
  return Object.entries(part).flatMap(([key, value]) => {
    const name = prefix + key;
    if (composed.has(name)) return [];
    return typeof value === 'function' ? [[name, value]] : methodsOf(value, `${name}.`);
  });
}

/** The answer is a refusal, which shows that the method asked. */
function refusal(result: unknown): Promise<unknown> {
  return firstOf(result).then(
    () => undefined,
    (error) => error,
  );
}

async function firstOf(result: unknown): Promise<unknown> {
  if (typeof result !== 'object' || result === null || !(Symbol.asyncIterator in result)) return result;
  for await (const item of result as AsyncIterable<unknown>) return item;
  return undefined;
}

function operationOf(request: string): string | undefined {
  const pattern = (operation: string) =>
    new RegExp(`^${operation.replaceAll(/[.]/g, '\\.').replaceAll(/\{\w+\}/g, uuid)}$`);
  return operations.find((operation) => pattern(operation).test(request));
}

test('every operation has a method, and every method an operation', async () => {
  await new Promise<void>((resolve) => recorder.listen(0, '127.0.0.1', resolve));
  const place = { url: `http://127.0.0.1:${(recorder.address() as AddressInfo).port}` };
  const client = createClient({ ...place, publicKey: 'pk', secretKey: 'sk' });
  const calls: [string, () => unknown][] = [
    ...methodsOf(client).map(([name, method]): [string, () => unknown] => [
      name,
      () => method(...(given[name] ?? [uuid, uuid])),
    ]),
    ['refreshSession', () => refreshSession(place, 'token')],
    ['endSession', () => endSession(place, 'token')],
    ['sessionForCode', () => sessionForCode(place, { code: 'c', verifier: 'v' })],
  ];
  assert.ok(calls.length > 60, `${calls.length} methods were found`);
  const met = new Set<string>();
  for (const [name, call] of calls) {
    const before = asked.length;
    const error = await refusal(call());
    assert.ok(error instanceof ApiError && error.status === 418, `${name} ended with ${error}`);
    assert.equal(asked.length, before + 1, `${name} makes one request`);
    const operation = operationOf(asked.at(-1) ?? '');
    assert.ok(operation !== undefined, `${name} asks for ${asked.at(-1)}, which the document does not have`);
    met.add(operation);
  }
  client.close();
  const missing = operations.filter((it) => !met.has(it) && !(it in withoutMethod) && !probes.test(it));
  assert.deepEqual(missing, []);
  assert.deepEqual(
    Object.keys(withoutMethod).filter((it) => !operations.includes(it) || met.has(it)),
    [],
  );
});
