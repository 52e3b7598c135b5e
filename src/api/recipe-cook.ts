// Reads the body of a cook: values fill the recipe, overrides are laid over it, and every wrong one of both is told at once.
import type { RecipeRecord } from '../db/recipes.ts';
import { envNamesOf, fill, overlay, placesIn, type RecipeInput, valuesOf } from '../domain/recipe.ts';
import type { FieldIssue } from '../protocol/error.ts';
import { validationFailed } from './errors.ts';
import { type JobRequest, jobRequestIssues, readJobRequest } from './job-request.ts';
import { toInput } from './recipe-content.ts';

type Fields = Record<string, unknown>;

/** The job that a cook asks for; throws one validation error with every wrong input and override. */
export function readCooked(recipe: RecipeRecord, body: unknown): JobRequest {
  const { inputs: given, ...overrides } = fieldsOf(body, '', 'an object; {} cooks with the defaults');
  const inputs = recipe.inputSchema.map(toInput);
  const { values, problems } = valuesOf(inputs, fieldsOf(given, 'inputs', 'an object of values by key'));
  // Overrides are the caller's own words: places are the recipe's alone.
  const wanted = overlay(fieldsOf(fill(recipe.payload, values), 'payload', 'an object'), overrides);
  const inputIssues = problems.map(({ key, expected }) => ({ path: `inputs.${key}`, expected }));
  const places = placesIn(overlay(recipe.payload, overrides));
  const fieldIssues = jobRequestIssues(wanted).flatMap((issue) => namingInputs(issue, { places, inputs }));
  const issues = firstOfPath([...inputIssues, ...fieldIssues]);
  if (issues.length > 0) throw validationFailed(issues);
  return withSecretNames(readJobRequest(wanted), recipe.payload, inputs);
}

/** What is wrong with a field that inputs fill is wrong with these; what came is not repeated, it may be a secret. */
function namingInputs(
  issue: FieldIssue,
  { places, inputs }: { places: { key: string; path: string }[]; inputs: readonly RecipeInput[] },
): FieldIssue[] {
  const known = new Set(inputs.map(({ key }) => key));
  const keys = places.filter(({ key, path }) => known.has(key) && path === issue.path).map(({ key }) => key);
  if (keys.length === 0) return [issue];
  return keys.map((key) => ({ path: `inputs.${key}`, expected: `${issue.expected} (fills ${issue.path})` }));
}

function firstOfPath(issues: readonly FieldIssue[]): FieldIssue[] {
  const paths = new Set<string>();
  return issues.filter(({ path }) => !paths.has(path) && paths.add(path));
}

/** Env variables that a secret fills are shown as *** from now on. */
function withSecretNames(
  wanted: JobRequest,
  payload: RecipeRecord['payload'],
  inputs: readonly RecipeInput[],
): JobRequest {
  const { container } = wanted.spec;
  const secretKeys = new Set(inputs.filter(({ type }) => type === 'secret').map(({ key }) => key));
  const secretEnvNames = envNamesOf(payload, secretKeys).filter((name) => Object.hasOwn(container.env, name));
  if (secretEnvNames.length === 0) return wanted;
  return { ...wanted, spec: { ...wanted.spec, container: { ...container, secretEnvNames } } };
}

function fieldsOf(value: unknown, path: string, expected: string): Fields {
  if (value === undefined || value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value)) throw validationFailed([{ path, expected }]);
  return { ...value };
}
