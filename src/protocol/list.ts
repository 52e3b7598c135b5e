// The envelope of every list: `{data, page, limit, total}`.
import Type, { type TSchema } from 'typebox';

/** The list of `item`; `total` is exact to 10,000 and an estimate beyond, which `total_is_exact` tells. */
export function ListOf<T extends TSchema>(item: T) {
  return Type.Object({
    data: Type.Array(item),
    page: Type.Integer({ minimum: 1 }),
    limit: Type.Integer({ minimum: 1, maximum: 50 }),
    total: Type.Integer({ minimum: 0 }),
    total_is_exact: Type.Boolean(),
  });
}

export interface ListEnvelope<T> {
  data: T[];
  page: number;
  limit: number;
  total: number;
  total_is_exact: boolean;
}
