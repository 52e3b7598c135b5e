// Routes of nodes' weeks: what a node did in each, and what its operator earned.
import type { FastifyInstance } from 'fastify';
import { type EpochRecord, epochStatus, listEpochs } from '../../db/epochs.ts';
import { getNode } from '../../db/nodes.ts';
import { epochMs } from '../../domain/epoch.ts';
import { toUsd } from '../../domain/price.ts';
import { epochStatuses, type NodeEpoch, NodeEpochList } from '../../protocol/epoch.ts';
import { callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { notFound } from '../errors.ts';
import { nullableTimestamp, timestamp } from '../job-view.ts';
import { type FilterRules, parseListQuery } from '../list-query.ts';
import { listOf, listQuerySchema, rawQueryOf, uuidOf, uuidParams } from '../route-parts.ts';

const filters: FilterRules = {
  status: { kind: 'words', column: epochStatus, words: epochStatuses },
  created_at: { kind: 'times', column: 'e.began_at' },
};

export function epochRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.get(
    '/v1/nodes/:uuid/epochs',
    {
      schema: {
        tags: ['Nodes'],
        summary: 'List the weeks of a node, newest first: hours available, prepared and worked, and earnings',
        params: uuidParams,
        querystring: listQuerySchema(filters),
        response: { 200: NodeEpochList },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'nodes:read');
      const nodeId = uuidOf(request, 'node');
      const query = parseListQuery(rawQueryOf(request), filters);
      const node = await getNode(deps.database, { id: nodeId, accountId: caller.accountId });
      if (node === null) throw notFound('node');
      const result = await listEpochs(deps.database, { ...query, nodeId });
      return listOf(query, result, result.items.map(epochView));
    },
  );
}

const hours = (ms: number) => ms / 3_600_000;

function epochView(epoch: EpochRecord): NodeEpoch {
  return {
    object: 'node_epoch',
    uuid: epoch.id,
    node_uuid: epoch.nodeId,
    status: epoch.status,
    created_at: timestamp(epoch.beganAtMs),
    starts_at: timestamp(epoch.beganAtMs),
    ends_at: timestamp(epoch.beganAtMs + epochMs),
    hours_available: hours(epoch.availableMs),
    hours_prepared: hours(epoch.preparedMs),
    hours_worked: hours(epoch.workedMs),
    earnings_usd: toUsd(epoch.earnedMicros),
    currency: 'USD',
    computed_at: timestamp(epoch.computedAtMs),
    finalized_at: nullableTimestamp(epoch.finalizedAtMs),
  };
}
