// Routes of nodes: register one with its key, list, get.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { createApiKey } from '../../db/api-keys.ts';
import { createNode, getNode, listNodes, type NodeRecord } from '../../db/nodes.ts';
import { claimNonce } from '../../db/nonces.ts';
import type { GpuInventory } from '../../protocol/agent-messages.ts';
import { CreatedNode, CreateNodeBody, Node, NodeList } from '../../protocol/node.ts';
import { regionCodes } from '../../protocol/schema.ts';
import { callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { ApiError, nonceReused, notFound, validationFailed } from '../errors.ts';
import { nullableTimestamp, timestamp } from '../job-view.ts';
import { newKeyPair, presetPermissions } from '../key-presets.ts';
import { type FilterRules, parseListQuery } from '../list-query.ts';
import { listOf, listQuerySchema, rawQueryOf, uuidOf, uuidParams } from '../route-parts.ts';
import { bodyCheck } from '../validate.ts';

const filters: FilterRules = {
  status: { kind: 'words', column: 'n.status', words: ['offline', 'ready', 'unreachable', 'lost'] },
  uuid: { kind: 'uuids', column: 'n.id' },
  created_at: { kind: 'times', column: 'n.created_at' },
  label: { kind: 'labels', column: 'n.labels' },
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
        summary: 'List nodes',
        querystring: listQuerySchema(filters),
        response: { 200: NodeList },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'nodes:read');
      const query = parseListQuery(rawQueryOf(request), filters);
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
    await createApiKey(sql, deps.vault, {
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
    return { ...nodeView(node), key: { public_key: pair.publicKey, secret_key: pair.secret } };
  });
}

const gb = 1e9;

export function nodeView(node: NodeRecord): Node {
  const { inventory } = node;
  const allocated = new Set(node.allocatedGpuUuids);
  const isFree = (gpu: GpuInventory) => !allocated.has(gpu.uuid) && gpu.health !== 'quarantined';
  return {
    object: 'node',
    _id: node.id,
    uuid: node.id,
    name: node.name,
    status: node.isCordoned && node.status === 'ready' ? 'cordoned' : node.status,
    status_reason: node.statusReason,
    region_code: node.regionCode,
    labels: node.labels,
    // Until kept promises are counted every node starts in the middle.
    reputation: 50,
    isolation: node.isolation,
    agent_version: node.agentVersion,
    cpus: inventory === null ? [] : [{ name: inventory.cpu_model, num_cores: inventory.cpu_count }],
    gpus: (inventory?.gpus ?? []).map((gpu) => ({
      uuid: gpu.uuid,
      name: gpu.name,
      vram_gb_available: isFree(gpu) ? gbOf(gpu.vram_mib * 1024 * 1024) : 0,
      vram_gb_max: gbOf(gpu.vram_mib * 1024 * 1024),
      is_allocated: allocated.has(gpu.uuid),
      is_quarantined: gpu.health === 'quarantined',
      quarantine_reason: gpu.health_reason ?? null,
    })),
    hard_drives: [
      {
        name: 'container storage',
        available_capacity_gb: gbOf(node.storageBytes - node.storageAllocated),
        max_capacity_gb: gbOf(node.storageBytes),
      },
    ],
    rams: [
      { memory_gb_available: gbOf(node.ramBytes - node.ramAllocated), memory_gb_max: gbOf(node.ramBytes) },
    ],
    ramTotal: gbOf(node.ramBytes),
    job_run_count: node.runCount,
    current_hardware: inventory,
    created_at: timestamp(node.createdAtMs),
    updated_at: timestamp(node.updatedAtMs),
    last_seen_at: nullableTimestamp(node.lastSeenAtMs),
  };
}

function gbOf(bytes: number): number {
  return Math.round((bytes / gb) * 1000) / 1000;
}
