// Building blocks that every schema of the protocol shares: nullable types, ids, times and region codes.
import Type, { type Static, type TSchema } from 'typebox';

/** A value of `schema` or null, written as a JSON Schema type list so that OpenAPI readers see one type. */
export function Nullable<T extends TSchema>(schema: T) {
  const { type } = schema as { type?: string };
  return Type.Unsafe<Static<T> | null>({ ...schema, type: [type, 'null'] });
}

/** One of the given words. */
export function Words<const T extends readonly string[]>(words: T, options: { description?: string } = {}) {
  return Type.Unsafe<T[number]>({ type: 'string', enum: [...words], ...options });
}

/** One of the given words, or null. */
export function NullableWords<const T extends readonly string[]>(
  words: T,
  options: { description?: string } = {},
) {
  return Type.Unsafe<T[number] | null>({ type: ['string', 'null'], enum: [...words, null], ...options });
}

/** Any UUID; ours are version 7, foreign ones of any version are accepted. */
export const uuidPattern = '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$';
export const Uuid = Type.String({ pattern: uuidPattern, format: 'uuid' });

/** RFC 3339 with milliseconds, UTC. */
export const Timestamp = Type.String({ format: 'date-time', examples: ['2026-01-31T12:00:00.000Z'] });

/** Milliseconds: an epoch where the name ends in `_at_ms`, else a duration. */
export const Milliseconds = Type.Integer({ minimum: 0 });

/** Free-form labels: at most 64, keys of letters, digits and `._-/`, values of at most 256 characters. */
export const Labels = Type.Record(Type.String(), Type.String());

export const regionCodes = [
  'af-south-1',
  'ap-east-1',
  'ap-east-2',
  'ap-northeast-1',
  'ap-northeast-2',
  'ap-northeast-3',
  'ap-south-1',
  'ap-south-2',
  'ap-southeast-1',
  'ap-southeast-2',
  'ap-southeast-3',
  'ap-southeast-4',
  'ap-southeast-5',
  'ap-southeast-6',
  'ap-southeast-7',
  'ca-central-1',
  'ca-west-1',
  'eu-central-1',
  'eu-central-2',
  'eu-north-1',
  'eu-south-1',
  'eu-south-2',
  'eu-west-1',
  'eu-west-2',
  'eu-west-3',
  'il-central-1',
  'me-central-1',
  'me-south-1',
  'mx-central-1',
  'sa-east-1',
  'us-east-1',
  'us-east-2',
  'us-gov-east-1',
  'us-gov-west-1',
  'us-west-1',
  'us-west-2',
] as const;
export type RegionCode = (typeof regionCodes)[number];
