// Hides the registry secrets of a recipe's payload wherever it is shown; a place for an input stays a place.
import type { RecipePayload } from '../db/recipes.ts';
import { isOnePlace } from '../domain/recipe.ts';
import { maskedSecret } from './image-rules.ts';

export function maskPayload(payload: RecipePayload): Record<string, unknown> {
  const outer = record(payload.parameters);
  const inner = record(outer.parameters);
  if (payload.parameters === undefined) return { ...payload };
  const volumes = Array.isArray(inner.volumes) ? { volumes: inner.volumes.map(masked) } : {};
  return { ...payload, parameters: { ...outer, parameters: { ...masked(inner), ...volumes } } };
}

function masked(holder: unknown): Record<string, unknown> {
  const fields = record(holder);
  const { secret } = fields;
  const isHidden = typeof secret === 'string' && secret !== '' && !isOnePlace(secret);
  return isHidden ? { ...fields, secret: maskedSecret } : fields;
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}
