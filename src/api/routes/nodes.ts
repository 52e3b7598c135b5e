// Routes of nodes: register one with its key, list, get, and its events.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { createApiKey } from '../../db/api-keys.ts';
import type { ListQuery } from '../../db/list-sql.ts';
import { listNodeEvents, recordNodeEvent } from '../../db/node-events.ts';
import { createNode, getNode, listNodes, shownStatus } from '../../db/nodes.ts';
import { claimNonce } from '../../db/nonces.ts';
import {
  CreatedNode,
  CreateNodeBody,
  Node,
  NodeEventList,
  NodeList,
  nodeEventKinds,
  nodeStatuses,
} from '../../protocol/node.ts';
import { regionCodes } from '../../protocol/schema.ts';
import { recordChange } from '../audit-entry.ts';
import { actorOf, callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { ApiError, nonceReused, notFound, validationFailed } from '../errors.ts';
import { newKeyPair, presetPermissions } from '../key-presets.ts';
import { keyDetail } from '../key-view.ts';
import { type FilterRules, parseListQuery } from '../list-query.ts';
import { nodeEventView, nodeView } from '../node-view.ts';
import { listOf, listQuerySchema, rawQueryOf, uuidOf, uuidParams } from '../route-parts.ts';
import { bodyCheck } from '../validate.ts';
import { epochRoutes } from './epochs.ts';
import { nodeChangeRoutes } from './node-changes.ts';

const filters: FilterRules = {
  status: { kind: 'words', column: shownStatus, words: nodeStatuses },
  uuid: { kind: 'uuids', column: 'n.id' },
  created_at: { kind: 'times', column: 'n.created_at' },
  region_code: { kind: 'words', column: 'n.region_code', words: regionCodes },
  label: { kind: 'labels', column: 'n.labels' },
};

const eventFilters: FilterRules = {
  kind: { kind: 'words', column: 'e.kind', words: nodeEventKinds },
  created_at: { kind: 'times', column: 'e.created_at' },
};

const createCheck = bodyCheck(CreateNodeBody);
const tags = ['Nodes'];

export function nodeRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.post(
    '/v1/nodes',
    {
      schema: {
        tags,
        summary: 'Register a node and make its key',
        body: CreateNodeBody,
        response: { 201: CreatedNode },
      },
    },
    async (request, reply) => reply.code(201).send(await registerNode(request, deps)),
  );
  app.get(
    '/v1/nodes',
    {
      schema: {
        tags,
        summary: 'List nodes; removed ones only when filter[status] asks for them',
        querystring: listQuerySchema(filters),
        response: { 200: NodeList },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'nodes:read');
      const query = withoutRemoved(parseListQuery(rawQueryOf(request), filters));
      const result = await listNodes(deps.database, { ...query, accountId: caller.accountId });
      return listOf(query, result, result.items.map(nodeView));
    },
  );
  app.get(
    '/v1/nodes/:uuid',
    { schema: { tags, summary: 'Get one node', params: uuidParams, response: { 200: Node } } },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'nodes:read');
      const id = uuidOf(request, 'node');
      const node = await getNode(deps.database, { id, accountId: caller.accountId });
      if (node === null) throw notFound('node');
      return nodeView(node);
    },
  );
  app.get(
    '/v1/nodes/:uuid/events',
    {
      schema: {
        tags,
        summary: 'List what happened to a node, newest first: who, when, why',
        params: uuidParams,
        querystring: listQuerySchema(eventFilters),
        response: { 200: NodeEventList },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'nodes:read');
      const nodeId = uuidOf(request, 'node');
      const query = parseListQuery(rawQueryOf(request), eventFilters);
      const node = await getNode(deps.database, { id: nodeId, accountId: caller.accountId });
      if (node === null) throw notFound('node');
      const result = await listNodeEvents(deps.database, { ...query, nodeId });
      return listOf(query, result, result.items.map(nodeEventView));
    },
  );
  nodeChangeRoutes(app, deps);
  epochRoutes(app, deps);
}

const presentStatuses = nodeStatuses.filter((status) => status !== 'removed');

function withoutRemoved(query: ListQuery): ListQuery {
  if (query.filters.some(({ column }) => column === shownStatus)) return query;
  const present = { kind: 'words', column: shownStatus, words: presentStatuses } as const;
  return { ...query, filters: [...query.filters, present] };
}

async function registerNode(request: FastifyRequest, deps: ApiDeps): Promise<CreatedNode> {
  const caller = callerOf(request);
  requirePermission(caller, 'nodes:write');
  const body = createCheck.parse(request.body);
  if (body.region_code && !(regionCodes as readonly string[]).includes(body.region_code)) {
    throw validationFailed([
      {
        path: 'region_code',
        expected: 'a known region code, such as eu-central-1',
        received: body.region_code,
      },
    ]);
  }
  const { accountId } = caller;
  const pair = newKeyPair(deps.newToken);
  return deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    const node = await createNode(sql, {
      id: deps.newId(),
      accountId,
      name: body.name,
      regionCode: body.region_code || null,
      labels: body.labels ?? {},
    });
    if (node === null)
      throw new ApiError('conflict', `A node named ${body.name} exists already; choose another name.`);
    await recordNodeEvent(sql, { nodeId: node.id, kind: 'registered', actor: actorOf(caller) });
    const key = await createApiKey(sql, deps.vault, {
      id: deps.newId(),
      accountId,
      name: `node ${body.name}`,
      preset: 'node',
      permissions: presetPermissions.node,
      ...pair,
      nodeId: node.id,
      allowedIps: [],
      expiresAtMs: null,
    });
    await recordChange(
      sql,
      { caller, deps },
      { accountId, action: 'key_created', subjectKind: 'api_key', subjectId: key.id, detail: keyDetail(key) },
    );
    return { ...nodeView(node), key: { public_key: pair.publicKey, secret_key: pair.secret } };
  });
}
