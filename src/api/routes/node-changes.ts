// Routes that change a node: cordon, uncordon, drain, remove, and the admin's word after a restore.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Static, TSchema } from 'typebox';
import type { Sql } from '../../db/database.ts';
import {
  cordonNode,
  drainNode,
  type NodeChange,
  type NodeRemoval,
  removeNode,
  uncordonNode,
} from '../../db/node-maintenance.ts';
import { acceptRestore } from '../../db/node-restore.ts';
import { getNode } from '../../db/nodes.ts';
import { claimNonce } from '../../db/nonces.ts';
import { listHeldRuns } from '../../db/placement.ts';
import { applyRunEvents } from '../../db/run-events.ts';
import { ChangeNodeBody, DrainNodeBody, Node, RemoveNodeBody } from '../../protocol/node.ts';
import { recordChange } from '../audit-entry.ts';
import { actorOf, type Caller, callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { ApiError, nonceReused, notFound } from '../errors.ts';
import { nodeView } from '../node-view.ts';
import { uuidOf, uuidParams } from '../route-parts.ts';
import { type BodyCheck, bodyCheck } from '../validate.ts';

const changeCheck = bodyCheck(ChangeNodeBody);
const drainCheck = bodyCheck(DrainNodeBody);
const removeCheck = bodyCheck(RemoveNodeBody);
const tags = ['Nodes'];
const defaultDeadlineMs = 3_600_000;

export function nodeChangeRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.put(
    '/v1/nodes/:uuid/cordon',
    { schema: schemaOf(ChangeNodeBody, 'Give a node no new work; what it runs goes on') },
    (request) => changeNode(request, deps, changeCheck, (sql, { change }) => cordonNode(sql, change)),
  );
  app.put(
    '/v1/nodes/:uuid/uncordon',
    { schema: schemaOf(ChangeNodeBody, 'Give a node work again; a drain under way ends') },
    (request) => changeNode(request, deps, changeCheck, (sql, { change }) => uncordonNode(sql, change)),
  );
  app.put(
    '/v1/nodes/:uuid/drain',
    {
      schema: schemaOf(
        DrainNodeBody,
        'Empty a node: no new work, and runs that are left at the deadline are stopped',
      ),
    },
    (request) =>
      changeNode(request, deps, drainCheck, (sql, { change, body }) =>
        drainNode(sql, { ...change, deadlineMs: body.deadline_ms ?? defaultDeadlineMs }),
      ),
  );
  app.put(
    '/v1/nodes/:uuid/accept-restore',
    {
      schema: schemaOf(
        ChangeNodeBody,
        'After a restore of the database: let a node remove what the database does not know, and take work',
      ),
    },
    (request) => changeNode(request, deps, changeCheck, (sql, { change }) => acceptRestore(sql, change)),
  );
  app.put(
    '/v1/nodes/:uuid/remove',
    {
      schema: schemaOf(
        RemoveNodeBody,
        'Take a node out of the cluster; its keys are revoked, its name is free',
      ),
    },
    (request) => remove(request, deps),
  );
}

function schemaOf(body: TSchema, summary: string) {
  return { tags, summary, params: uuidParams, body, response: { 200: Node } };
}

interface Request<T extends TSchema> {
  change: NodeChange;
  body: Static<T>;
}

function read<T extends TSchema>(
  request: FastifyRequest,
  check: BodyCheck<T>,
): Request<T> & { caller: Caller } {
  const caller = callerOf(request);
  requirePermission(caller, 'nodes:write');
  const nodeId = uuidOf(request, 'node');
  const body = check.parse(request.body);
  const { reason } = body as { reason?: string | null };
  const change = { nodeId, accountId: caller.accountId, actor: actorOf(caller), reason: reason || null };
  return { caller, change, body };
}

async function changeNode<T extends TSchema>(
  request: FastifyRequest,
  deps: ApiDeps,
  check: BodyCheck<T>,
  write: (sql: Sql, request: Request<T>) => Promise<boolean>,
): Promise<Node> {
  const { caller, change, body } = read(request, check);
  await deps.database.transaction(async (sql) => {
    await claim(sql, caller);
    if (!(await write(sql, { change, body }))) throw notFound('node');
  });
  deps.hints.publish({ kind: 'node', nodeId: change.nodeId });
  deps.hints.publish({ kind: 'schedule' });
  return viewOf(change, deps);
}

async function claim(sql: Sql, { nonce }: Caller): Promise<void> {
  if (!(await claimNonce(sql, nonce.keyId, nonce.value))) throw nonceReused();
}

async function viewOf({ nodeId, accountId }: NodeChange, { database }: ApiDeps): Promise<Node> {
  const node = await getNode(database, { id: nodeId, accountId });
  if (node === null) throw notFound('node');
  return nodeView(node);
}

async function remove(request: FastifyRequest, deps: ApiDeps): Promise<Node> {
  const { caller, change, body } = read(request, removeCheck);
  const order = { ...change, isForced: body.force ?? false };
  let removal = await deps.database.transaction(async (sql) => {
    await claim(sql, caller);
    return removeAndRecord(sql, { caller, order, deps });
  });
  if (removal.kind === 'busy' && removal.status === 'lost' && order.isForced) {
    await fenceRuns(change, deps);
    removal = await deps.database.transaction((sql) => removeAndRecord(sql, { caller, order, deps }));
  }
  if (removal.kind !== 'removed') throw refusalOf(removal);
  for (const publicKey of removal.publicKeys) deps.hints.publish({ kind: 'key', publicKey });
  deps.hints.publish({ kind: 'schedule' });
  return viewOf(change, deps);
}

/** What is removed already changes nothing more. */
async function removeAndRecord(
  sql: Sql,
  { caller, order, deps }: { caller: Caller; order: NodeChange & { isForced: boolean }; deps: ApiDeps },
): Promise<NodeRemoval> {
  const removal = await removeNode(sql, order);
  if (removal.kind !== 'removed' || removal.publicKeys.length === 0) return removal;
  const { nodeId, accountId, reason } = order;
  const detail = { reason, revoked_public_keys: removal.publicKeys };
  await recordChange(
    sql,
    { caller, deps },
    { accountId, action: 'node_removed', subjectKind: 'node', subjectId: nodeId, detail },
  );
  return removal;
}

/** What the scheduler does with the runs of a lost node, for one that it has not come to yet. */
async function fenceRuns({ nodeId, actor }: NodeChange, { database, hints }: ApiDeps): Promise<void> {
  const reason = 'The node was lost, and an operator removed it.';
  const runs = await listHeldRuns(database, [nodeId]);
  const events = runs.map(({ id }) => ({
    runId: id,
    from: null,
    onlyWhileNodeIs: 'lost' as const,
    event: () => ({ kind: 'node_lost' as const, reason }),
  }));
  for (const applied of await applyRunEvents(database, events, actor))
    if (applied.kind === 'applied') hints.publish({ kind: 'job', jobId: applied.jobId });
}

function refusalOf(removal: Exclude<NodeRemoval, { kind: 'removed' }>): ApiError {
  if (removal.kind === 'not_found') return notFound('node');
  const { name } = removal;
  if (removal.kind === 'lost')
    return new ApiError(
      'conflict',
      `Node ${name} is lost, and what it ran may still run there: clean that machine up, then remove the node with force.`,
    );
  const { runCount, status } = removal;
  const runs = `${runCount} ${runCount === 1 ? 'run' : 'runs'}`;
  const whatToDo =
    status === 'unreachable'
      ? 'wait until it is back or lost'
      : 'drain it first (PUT /v1/nodes/{uuid}/drain), and remove it when no run is left';
  return new ApiError('conflict', `Node ${name} is ${status} and holds ${runs}: ${whatToDo}.`, {
    details: { status, run_count: runCount },
  });
}
