// Checks what a recipe holds: its payload as a create body, its inputs, and that they belong to each other.
import type { RecipePayload } from '../db/recipes.ts';
import {
  expectedOf,
  fill,
  isOfType,
  isOnePlace,
  isRegistrySecret,
  isSecretPlace,
  placesIn,
  type RecipeInput,
  valuesOf,
} from '../domain/recipe.ts';
import type { FieldIssue } from '../protocol/error.ts';
import type { RecipeInputField, ShownRecipeInput } from '../protocol/recipe.ts';
import { validationFailed } from './errors.ts';
import { jobRequestIssues } from './job-request.ts';

export interface RecipeContent {
  payload: RecipePayload;
  inputSchema: readonly RecipeInputField[];
}

/** Throws one validation error with everything that is wrong. `isPublic`: others read it too. */
export function checkRecipeContent({ payload, inputSchema }: RecipeContent, isPublic: boolean): void {
  const inputs = inputSchema.map(toInput);
  const issues = [
    ...inputIssues(inputSchema, inputs),
    ...placeIssues(payload, inputs),
    ...(isPublic ? publicSecretIssues(payload) : []),
  ];
  if (issues.length > 0) throw validationFailed(issues);
  checkFilled(payload, inputs);
}

export function toInput(field: RecipeInputField): RecipeInput {
  return {
    key: field.key,
    type: field.type,
    isRequired: field.required ?? false,
    defaultValue: field.default_value ?? null,
    options: (field.options ?? []).map(({ value }) => value),
  };
}

export function toShownInput(field: RecipeInputField): ShownRecipeInput {
  return {
    key: field.key,
    type: field.type,
    label: field.label ?? field.key,
    required: field.required ?? false,
    description: field.description ?? null,
    placeholder: field.placeholder ?? null,
    default_value: field.default_value ?? null,
    options: field.options ?? [],
  };
}

function inputIssues(fields: readonly RecipeInputField[], inputs: readonly RecipeInput[]): FieldIssue[] {
  const seen = new Set<string>();
  return inputs.flatMap((input, index) => {
    const issues: FieldIssue[] = [];
    const path = `input_schema[${index}]`;
    if (seen.has(input.key)) issues.push({ path: `${path}.key`, expected: 'a key that no other input has' });
    seen.add(input.key);
    if (input.type === 'select' && input.options.length === 0)
      issues.push({ path: `${path}.options`, expected: 'at least one option of a select' });
    if (input.type === 'secret' && input.defaultValue !== null && input.defaultValue !== '')
      issues.push({ path: `${path}.default_value`, expected: 'none: a default of a secret would be shown' });
    const hasDefault = input.defaultValue !== null && fields[index]?.default_value !== '';
    if (hasDefault && !isOfType(input.defaultValue, input))
      issues.push({ path: `${path}.default_value`, expected: expectedOf(input) });
    return issues;
  });
}

function placeIssues(payload: RecipePayload, inputs: readonly RecipeInput[]): FieldIssue[] {
  const byKey = new Map(inputs.map((input) => [input.key, input]));
  return placesIn(payload).flatMap(({ key, path }) => {
    const input = byKey.get(key);
    if (input === undefined)
      return [
        { path: `payload.${path}`, expected: `an input ${key} in input_schema, or $\${${key}} for the text` },
      ];
    if (input.type === 'secret' && !isSecretPlace(path))
      return [
        {
          path: `payload.${path}`,
          expected: 'no secret here: only env values and registry secrets are hidden',
        },
      ];
    if (input.type !== 'secret' && isRegistrySecret(path))
      return [{ path: `payload.${path}`, expected: `${key} to be an input of type secret` }];
    return [];
  });
}

/** Whoever may read the recipe could use what is in it. */
function publicSecretIssues(payload: RecipePayload): FieldIssue[] {
  const container = record(record(payload.parameters).parameters);
  const volumes = Array.isArray(container.volumes) ? container.volumes : [];
  const secrets: [string, unknown][] = [
    ['payload.parameters.parameters.secret', container.secret],
    ...volumes.map((volume, index): [string, unknown] => [
      `payload.parameters.parameters.volumes[${index}].secret`,
      record(volume).secret,
    ]),
  ];
  return secrets.flatMap(([path, secret]) =>
    typeof secret === 'string' && secret !== '' && !isOnePlace(secret)
      ? [{ path, expected: 'an input of type secret: others may cook a PUBLIC recipe' }]
      : [],
  );
}

/**
 * The payload must be a body that POST /v1/jobs takes, with all inputs filled and with those alone that cook asks for. What
 * an input without a default will be is not known: there only cook can tell.
 */
function checkFilled(payload: RecipePayload, inputs: readonly RecipeInput[]): void {
  const open = inputs.filter(({ defaultValue }) => defaultValue === null || defaultValue === '');
  const samples = (wanted: readonly RecipeInput[]) =>
    Object.fromEntries(wanted.map((input) => [input.key, sampleOf(input)]));
  const issues = [open, open.filter(({ isRequired }) => isRequired)].flatMap((given) => {
    const { values } = valuesOf(inputs, samples(given));
    const unknown = new Set(given.map(({ key }) => key));
    const open = placesIn(payload).filter(({ key }) => unknown.has(key));
    return jobRequestIssues(fill(payload, values)).filter(
      (issue) => !open.some((place) => decides(place, issue)),
    );
  });
  const once = new Map(issues.map((issue) => [issue.path, { ...issue, path: `payload.${issue.path}` }]));
  if (once.size > 0) throw validationFailed([...once.values()]);
}

/** Whether what fills the place may mend the issue: it is there, around it, or about limits of a task that is not known. */
function decides(place: { path: string }, { path }: FieldIssue): boolean {
  if (place.path === 'task') return ['task', 'max_timeout_run_ms', 'on_node_lost'].includes(path);
  return place.path === path || place.path.startsWith(`${path}[`) || place.path.startsWith(`${path}.`);
}

function sampleOf({ type, options }: RecipeInput): string | number | boolean {
  if (type === 'number') return 1;
  if (type === 'boolean') return false;
  if (type === 'select') return options[0] ?? '';
  return type === 'ssh_key' ? 'ssh-ed25519 AAAA sample' : 'sample';
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}
