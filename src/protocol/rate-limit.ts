// Wire shapes of the cluster's rate limit.
import Type, { type Static } from 'typebox';
import { Nullable } from './schema.ts';

/** Body of `PUT /v1/cluster/rate-limit`. */
export const RateLimitBody = Type.Object(
  {
    requests_per_second: Nullable(
      Type.Number({ minimum: 0.01, maximum: 1_000_000, description: 'null: the default' }),
    ),
  },
  { additionalProperties: false },
);
export type RateLimitBody = Static<typeof RateLimitBody>;

export const RateLimitSetting = Type.Object({
  object: Type.Literal('rate_limit'),
  requests_per_second: Type.Number({
    description: 'of each key that has no limit of its own, at each replica; Stop is exempt',
  }),
});
export type RateLimitSetting = Static<typeof RateLimitSetting>;
