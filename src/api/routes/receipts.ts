// Routes of receipts: what was seen of the end of a job's last run, or of an earlier one.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { getJobReceipt, getRunReceipt } from '../../db/job-receipts.ts';
import { Receipt } from '../../protocol/receipt.ts';
import { Uuid, uuidPattern } from '../../protocol/schema.ts';
import { callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { notFound } from '../errors.ts';
import { readParameters } from '../parameters.ts';
import { receiptView } from '../receipt-view.ts';
import { rawQueryOf, uuidOf, uuidParams } from '../route-parts.ts';

const description =
  'Each line is what the agent of the node or the database saw; what nobody saw is not_observed. state is verified when nothing of the run is left, unverified when that cannot be said, open while the teardown is under way, and null while the run goes on.';

const receiptQuery = Type.Object({
  run_uuid: Type.Optional({ ...Uuid, description: 'an earlier run of the job' }),
});

export function receiptRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.get(
    '/v1/jobs/:uuid/receipt',
    {
      schema: {
        tags: ['Jobs'],
        summary: "Get the receipt of a job's end",
        description,
        params: uuidParams,
        querystring: receiptQuery,
        response: { 200: Receipt },
      },
    },
    (request) => getOfJob(request, deps),
  );
  app.get(
    '/v1/job-runs/:uuid/receipt',
    {
      schema: {
        tags: ['Job runs'],
        summary: "Get the receipt of a job run's end",
        description,
        params: uuidParams,
        response: { 200: Receipt },
      },
    },
    (request) => getOfRun(request, deps),
  );
}

async function getOfJob(request: FastifyRequest, deps: ApiDeps): Promise<Receipt> {
  const { accountId } = readerOf(request);
  const runId = runIdOf(rawQueryOf(request));
  const found = await getJobReceipt(deps.database, { id: uuidOf(request, 'job'), accountId, runId });
  if (found === null) throw notFound(runId === null ? 'job' : 'job with this run');
  return receiptView(found);
}

async function getOfRun(request: FastifyRequest, deps: ApiDeps): Promise<Receipt> {
  const { accountId } = readerOf(request);
  const found = await getRunReceipt(deps.database, { id: uuidOf(request, 'job run'), accountId });
  if (found === null) throw notFound('job run');
  return receiptView(found);
}

function readerOf(request: FastifyRequest) {
  const caller = callerOf(request);
  requirePermission(caller, 'jobs:read');
  return caller;
}

const uuid = new RegExp(uuidPattern);
const receiptRules = {
  run_uuid: {
    expected: 'a UUID',
    read: (text: string) => (uuid.test(text) ? text.toLowerCase() : undefined),
  },
};

function runIdOf(rawQuery: string): string | null {
  return readParameters(rawQuery, receiptRules).run_uuid ?? null;
}
