// Recipes: what a person fills in, how it goes into the stored job body, and how overrides are laid over it.

export const recipeInputTypes = ['text', 'number', 'boolean', 'select', 'secret', 'ssh_key'] as const;
export type RecipeInputType = (typeof recipeInputTypes)[number];

export interface RecipeInput {
  key: string;
  type: RecipeInputType;
  isRequired: boolean;
  defaultValue: RecipeValue | null;
  /** Of a select. */
  options: readonly RecipeValue[];
}

export type RecipeValue = string | number | boolean;
export type RecipeValues = Readonly<Record<string, RecipeValue>>;

/** JSON of a create body or a part of it. */
type Json = unknown;

/** `${key}`; `$${key}` is the text itself, for shells. */
const placePattern = /(\$?)\$\{([A-Za-z][A-Za-z0-9_]{0,63})\}/g;

export interface InputProblem {
  key: string;
  expected: string;
}

/** The values that fill the recipe: those given, else the defaults. An input that is not required and absent is empty text. */
export function valuesOf(
  inputs: readonly RecipeInput[],
  given: Readonly<Record<string, unknown>>,
): { values: RecipeValues; problems: InputProblem[] } {
  const values: Record<string, RecipeValue> = {};
  const problems: InputProblem[] = [];
  for (const input of inputs) {
    const value = given[input.key] ?? input.defaultValue ?? null;
    const isAbsent = value === null || (value === '' && input.type !== 'text');
    if (isAbsent && input.isRequired) problems.push({ key: input.key, expected: 'a value' });
    else if (isAbsent) values[input.key] = '';
    else if (isOfType(value, input)) values[input.key] = value;
    else problems.push({ key: input.key, expected: expectedOf(input) });
  }
  const known = new Set(inputs.map(({ key }) => key));
  for (const key of Object.keys(given))
    if (!known.has(key)) problems.push({ key, expected: `one of ${[...known].join(', ') || 'no inputs'}` });
  return { values, problems };
}

export function isOfType(value: unknown, { type, options }: RecipeInput): value is RecipeValue {
  switch (type) {
    case 'number':
      return typeof value === 'number' && Number.isFinite(value);
    case 'boolean':
      return typeof value === 'boolean';
    case 'select':
      return options.some((option) => option === value);
    default:
      return typeof value === 'string';
  }
}

export function expectedOf({ type, options }: RecipeInput): string {
  if (type === 'select') return `one of ${options.map(String).join(', ')}`;
  if (type === 'number' || type === 'boolean') return `a ${type}`;
  return type === 'ssh_key' ? 'an SSH public key' : 'text';
}

/** Fields of a create body that are text whatever fills them. */
const textPlace =
  /^(title|description|gpu_name|labels\.|parameters\.parameters\.(image|tag|host|user|secret|imagesrc|sshkey|env\.|command\[|entrypoint\[|allowed_ips\[|volumes\[))/;

/** The body with its places filled. Where a field is no text, one place alone takes the value as it is: a number stays one. */
export function fill(body: Json, values: RecipeValues): Json {
  return mapTexts(body, (text, path) => {
    const [whole] = [...text.matchAll(placePattern)];
    const isTyped = whole?.[0] === text && whole[1] === '' && !textPlace.test(path);
    if (isTyped) return values[whole?.[2] ?? ''] ?? '';
    return text.replaceAll(placePattern, (place, dollar: string, key: string) =>
      dollar === '' ? String(values[key] ?? '') : place.slice(1),
    );
  });
}

/** Keys that the body has places for, and where: paths as in validation errors. */
export function placesIn(body: Json, path = ''): { key: string; path: string }[] {
  if (typeof body === 'string')
    return [...body.matchAll(placePattern)]
      .filter(([, dollar]) => dollar === '')
      .map(([, , key = '']) => ({ key, path }));
  if (Array.isArray(body)) return body.flatMap((item, index) => placesIn(item, `${path}[${index}]`));
  if (typeof body !== 'object' || body === null) return [];
  return Object.entries(body).flatMap(([name, value]) =>
    placesIn(value, path === '' ? name : `${path}.${name}`),
  );
}

/** Where a secret may stand: what is masked wherever it is shown. */
export function isSecretPlace(path: string): boolean {
  return (
    /^parameters\.parameters\.env\.[^[]+$/.test(path) ||
    path === 'parameters.parameters.secret' ||
    /^parameters\.parameters\.volumes\[\d+\]\.secret$/.test(path)
  );
}

/** Names of env variables whose value has a place for one of these inputs. */
export function envNamesOf(body: Json, keys: ReadonlySet<string>): string[] {
  const prefix = 'parameters.parameters.env.';
  const names = placesIn(body)
    .filter(({ key, path }) => keys.has(key) && path.startsWith(prefix))
    .map(({ path }) => path.slice(prefix.length));
  return [...new Set(names)];
}

/**
 * Lays overrides over a body: fields replace fields, of the container and its env too, each by its name. Naming a GPU one way
 * clears the other way.
 */
export function overlay(body: Readonly<Record<string, Json>>, overrides: Readonly<Record<string, Json>>) {
  const result: Record<string, Json> = { ...body };
  for (const [name, value] of Object.entries(overrides))
    result[name] =
      name === 'parameters' && isRecord(value) ? overlayParameters(asRecord(body.parameters), value) : value;
  if (isSet(overrides.gpu_name) && !isSet(overrides.gpu_registry_uuid)) result.gpu_registry_uuid = null;
  if (isSet(overrides.gpu_registry_uuid) && !isSet(overrides.gpu_name)) result.gpu_name = null;
  return result;
}

function overlayParameters(stored: Record<string, Json>, given: Record<string, Json>): Record<string, Json> {
  const container = { ...asRecord(stored.parameters) };
  for (const [name, value] of Object.entries(asRecord(given.parameters)))
    container[name] = name === 'env' && isRecord(value) ? { ...asRecord(container.env), ...value } : value;
  return { ...stored, ...given, parameters: container };
}

function mapTexts(body: Json, change: (text: string, path: string) => Json, path = ''): Json {
  if (typeof body === 'string') return change(body, path);
  if (Array.isArray(body)) return body.map((item, index) => mapTexts(item, change, `${path}[${index}]`));
  if (!isRecord(body)) return body;
  const below = (name: string) => (path === '' ? name : `${path}.${name}`);
  return Object.fromEntries(
    Object.entries(body).map(([name, value]) => [name, mapTexts(value, change, below(name))]),
  );
}

function isSet(value: Json): boolean {
  return value !== undefined && value !== null && value !== '';
}

function isRecord(value: Json): value is Record<string, Json> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function asRecord(value: Json): Record<string, Json> {
  return isRecord(value) ? value : {};
}
