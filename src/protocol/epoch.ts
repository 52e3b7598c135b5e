// Wire shapes of a node's weeks: hours and earnings (reference: rewards, from Sunday 00:00 UTC).
import Type, { type Static } from 'typebox';
import { ListOf } from './list.ts';
import { Nullable, Timestamp, Uuid, Words } from './schema.ts';

export const epochStatuses = ['ACTIVE', 'FINALIZING', 'FINALIZED'] as const;

const Hours = (description: string) => Type.Number({ description: `hours of 168 in which ${description}` });

export const NodeEpoch = Type.Object({
  object: Type.Literal('node_epoch'),
  uuid: Uuid,
  node_uuid: Uuid,
  status: Words(epochStatuses, {
    description:
      'FINALIZING: over, late reports may still come for an hour; FINALIZED: nothing changes any more',
  }),
  created_at: Timestamp,
  starts_at: Timestamp,
  ends_at: Timestamp,
  hours_available: Hours('it could take work'),
  hours_prepared: Hours('it fetched images and volumes for at least one run'),
  hours_worked: Hours('at least one container ran on it'),
  earnings_usd: Type.Number({ description: "by the cluster's rates; those of the last computation stand" }),
  currency: Type.Literal('USD'),
  computed_at: Timestamp,
  finalized_at: Nullable(Timestamp),
});
export type NodeEpoch = Static<typeof NodeEpoch>;
export const NodeEpochList = ListOf(NodeEpoch);
