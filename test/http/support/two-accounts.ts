// Two accounts on one server: everything the first has, what of it must never be seen, and requests made from the document.
import { randomBytes } from 'node:crypto';
import { newId } from '../../../src/main/ids.ts';
import type { CreatedApiKey } from '../../../src/protocol/api-key.ts';
import { aJob, aNode } from '../../support/builders.ts';
import type { Client } from '../../support/client.ts';
import type { OpenApiDocument, Operation } from '../../support/openapi-check.ts';
import { place } from '../../support/runs.ts';
import type { TestServer } from '../../support/server.ts';

/** The thing of each resource, under the name that its paths begin with. A new resource has its line in `tenant`. */
export type Things = Record<string, string>;

export interface Tenant {
  client: Client;
  things: Things;
  /** Ids and texts that are in everything it has. */
  secrets: string[];
}

/** An account with one of everything. */
export async function tenant(server: TestServer): Promise<Tenant> {
  const marker = `only-${randomBytes(6).toString('hex')}`;
  const accountId = await server.createAccount(marker);
  const key = await server.createKey({ preset: 'admin', accountId, name: marker });
  const client = server.client(key);
  const ask = <T = { uuid: string }>(path: string, body: object) => client.ask<T>('POST', path, { body });
  const node = await aNode(server, { accountId, name: marker, isolation: 'enforced' });
  const job = await client.createJob(
    aJob({
      title: marker,
      description: marker,
      labels: { of: marker },
      container: { env: { SECRET: marker } },
    }),
  );
  const run = await place(server, job.uuid, node.id);
  const user = await ask('/v1/users', { email: `${marker}@example.org` });
  const second = await ask<CreatedApiKey>('/v1/api-keys', { name: marker, user_uuid: user.uuid });
  const recipe = await ask('/v1/job-recipes', { name: marker, payload: aJob({ title: marker }) });
  // Of a kind that does not happen here: a delivery would change its row by itself.
  const hook = { name: marker, url: `https://example.com/${marker}`, kinds: ['exited'] };
  const webhook = await ask('/v1/webhooks', hook);
  const session = await ask<{ session_uuid: string }>('/v1/sign-in', {});
  const credit = { amount_usd: 3, description: marker };
  const posted = await server.admin.ask<{ uuid: string }>('POST', `/v1/accounts/${accountId}/credits`, {
    body: credit,
  });
  const things = {
    jobs: job.uuid,
    'job-runs': run.id,
    nodes: node.id,
    accounts: accountId,
    users: user.uuid,
    'api-keys': second.uuid,
    'job-recipes': recipe.uuid,
    webhooks: webhook.uuid,
    sessions: session.session_uuid,
  };
  const keys = [key.id, key.publicKey, second.public_key];
  return { client, things, secrets: [marker, ...keys, posted.uuid, ...Object.values(things)] };
}

export interface Route {
  name: string;
  method: string;
  /** `/v1/jobs/{uuid}/cancel` */
  template: string;
  operation: Operation;
}

export function routesOf({ paths }: OpenApiDocument): Route[] {
  return Object.entries(paths).flatMap(([template, operations]) =>
    Object.entries(operations).map(([method, operation]) => ({
      ...{ name: `${method.toUpperCase()} ${template}`, method: method.toUpperCase(), template, operation },
    })),
  );
}

/** The path of that thing; of an unknown one where there is no thing of its resource, which the test has to refuse. */
export function pathOf({ template }: Route, things: Things): string {
  const [, , resource = ''] = template.split('/');
  return template.replace('{uuid}', things[resource] ?? newId()).replaceAll(/\{\w+\}/g, () => newId());
}

export const queryNames = ({ operation }: Route): { name: string; required?: boolean }[] =>
  (operation.parameters ?? []).filter((parameter) => parameter.in === 'query');

interface Schema {
  type?: string | string[];
  enum?: unknown[];
  minimum?: number;
  required?: string[];
  properties?: Record<string, Schema>;
}

const bodies: Record<string, object> = {
  'POST /v1/jobs': aJob(),
  'POST /v1/job-recipes': { name: 'mine', payload: aJob() },
  'POST /v1/stream-tickets': { path: '/v1/events' },
  'POST /v1/webhooks': { url: 'https://example.com/mine' },
  'POST /v1/users': { email: 'mine@example.org' },
};

export function bodySchema({ operation }: Route): Schema | undefined {
  return operation.requestBody?.content['application/json']?.schema;
}

/** The smallest body that the route takes. */
export function bodyOf(route: Route): object | undefined {
  const schema = bodySchema(route);
  if (schema === undefined) return undefined;
  const fields = (schema.required ?? []).map((name) => [name, sampleOf(schema.properties?.[name])]);
  return bodies[route.name] ?? Object.fromEntries(fields);
}

function sampleOf(schema: Schema = {}): unknown {
  if (schema.enum !== undefined) return schema.enum[0];
  switch ([schema.type].flat()[0]) {
    case 'string':
      return 'sample';
    case 'integer':
    case 'number':
      return Math.max(1, schema.minimum ?? 1);
    case 'boolean':
      return false;
    case 'array':
      return ['sample'];
    default:
      return {};
  }
}

/** Every row that names the account, and the events of its things. */
export async function rowsOf(
  { database }: Pick<TestServer, 'database'>,
  { things }: Tenant,
): Promise<Record<string, unknown[]>> {
  const tables = await database.query<{ name: string }>(
    `select c.table_name as name from information_schema.columns c join pg_class r on r.oid = c.table_name::regclass
     where c.table_schema = 'public' and c.column_name = 'account_id' and not r.relispartition order by 1`,
  );
  const rows: Record<string, unknown[]> = {};
  const read = async (name: string, where: string, value: string | undefined) => {
    rows[name] = await database.query(
      `select to_jsonb(t) as row from ${name} t where ${where} order by t::text`,
      [value],
    );
  };
  for (const { name } of tables) await read(name, 't.account_id = $1', things.accounts);
  await read('job_events', 't.job_id = $1', things.jobs);
  await read('node_events', 't.node_id = $1', things.nodes);
  return rows;
}
