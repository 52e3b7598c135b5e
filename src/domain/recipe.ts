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

/**
 * The values that fill the recipe: those given, else the defaults. An input that is not required and has neither is absent:
 * text without it, and a field of its own left out.
 */
export function valuesOf(
  inputs: readonly RecipeInput[],
  given: Readonly<Record<string, unknown>>,
): { values: RecipeValues; problems: InputProblem[] } {
  const values: Record<string, RecipeValue> = {};
  const problems: InputProblem[] = [];
  for (const input of inputs) {
    const { key } = input;
    const value = chosen(input, given);
    const isMissing = value === null || (value === '' && input.type !== 'select');
    if (isMissing && input.isRequired) problems.push({ key, expected: `a value: ${expectedOf(input)}` });
    else if (value === null) continue;
    else if (isOfType(value, input)) values[key] = value;
    else problems.push({ key, expected: expectedOf(input) });
  }
  const known = new Set(inputs.map(({ key }) => key));
  for (const key of Object.keys(given))
    if (!known.has(key)) problems.push({ key, expected: `one of ${[...known].join(', ') || 'no inputs'}` });
  return { values, problems };
}

/** What forms send for a number or choice that nobody made, `""`, is none. */
function chosen(input: RecipeInput, given: Readonly<Record<string, unknown>>): unknown {
  const value = Object.hasOwn(given, input.key) ? given[input.key] : null;
  const isNone = value === null || value === undefined || (value === '' && !isOfType('', input));
  const { defaultValue } = input;
  if (!isNone) return value;
  return defaultValue === '' && !isOfType('', input) ? null : defaultValue;
}

export function isOfType(value: unknown, { type, options }: RecipeInput): value is RecipeValue {
  switch (type) {
    case 'number':
      return typeof value === 'number' && Number.isFinite(value);
    case 'boolean':
      return typeof value === 'boolean';
    case 'select':
      return options.some((option) => option === value);
    case 'ssh_key':
      return typeof value === 'string' && arePublicKeys(value);
    default:
      return typeof value === 'string';
  }
}

/** A key's type and itself, as in authorized_keys, whatever stands before and after. */
const publicKeyPattern = /(^|\s)(ssh|ecdsa|sk-ssh|sk-ecdsa)-\S+ +AAAA[A-Za-z0-9+/]*={0,2}(\s|$)/;

/** One key a line, comments and empty lines between them; no key at all is none. */
function arePublicKeys(text: string): boolean {
  const lines = text.split('\n').map((line) => line.trim());
  return lines.every((line) => line === '' || line.startsWith('#') || publicKeyPattern.test(line));
}

export function expectedOf({ type, options }: RecipeInput): string {
  if (type === 'select') return `one of ${options.map(String).join(', ')}`;
  if (type === 'number' || type === 'boolean') return `a ${type}`;
  return type === 'ssh_key' ? 'an SSH public key' : 'text';
}

/** Fields of a create body that are text whatever fills them. */
const textPlace =
  /^(title|description|gpu_name|labels\.|parameters\.parameters\.(image|tag|host|user|secret|imagesrc|sshkey|stop_signal|env\.|command\[|entrypoint\[|allowed_ips\[|volumes\[))/;

/**
 * The body with its places filled. Where a field is no text, one place alone takes the value as it is: a number stays one, and
 * an absent value is null.
 */
export function fill(body: Json, values: RecipeValues): Json {
  return mapTexts(body, (text, path) => {
    const [whole] = [...text.matchAll(placePattern)];
    const isTyped = whole?.[0] === text && whole[1] === '' && !textPlace.test(path);
    if (isTyped) return filledBy(values, whole[2]) ?? null;
    return text.replaceAll(placePattern, (place, dollar: string, key: string) =>
      dollar === '' ? String(filledBy(values, key) ?? '') : place.slice(1),
    );
  });
}

function filledBy(values: RecipeValues, key = ''): RecipeValue | undefined {
  return Object.hasOwn(values, key) ? values[key] : undefined;
}

/** Nothing but one place: what a person wrote there himself is nowhere in it. */
export function isOnePlace(text: string): boolean {
  const [whole] = [...text.matchAll(placePattern)];
  return whole?.[0] === text && whole[1] === '';
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
  return /^parameters\.parameters\.env\.[^[]+$/.test(path) || isRegistrySecret(path);
}

/** Where the password of a registry stands. */
export function isRegistrySecret(path: string): boolean {
  return /^parameters\.parameters\.(volumes\[\d+\]\.)?secret$/.test(path);
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
 * Lays overrides over a body: fields replace fields, of the container and its env too, each by its name. What cannot stand
 * beside an override goes: the other name of the GPU, limits of the other kind of task, the tag beside an image that has its
 * own, and credentials of another registry.
 */
export function overlay(
  body: Readonly<Record<string, Json>>,
  overrides: Readonly<Record<string, Json>>,
): Record<string, Json> {
  const parameters = isRecord(overrides.parameters)
    ? { parameters: overlayParameters(asRecord(body.parameters), overrides.parameters) }
    : {};
  const result: Record<string, Json> = { ...body, ...overrides, ...parameters };
  if (isSet(overrides.gpu_name) && !isSet(overrides.gpu_registry_uuid)) result.gpu_registry_uuid = null;
  if (isSet(overrides.gpu_registry_uuid) && !isSet(overrides.gpu_name)) result.gpu_name = null;
  return { ...result, ...limitsOfTask(body, overrides) };
}

/** PERSISTENT takes no limit of its run and BATCH needs one, also where older clients send null for every task. */
function limitsOfTask(body: Readonly<Record<string, Json>>, overrides: Readonly<Record<string, Json>>) {
  const isPersistent = (overrides.task ?? body.task) === 'PERSISTENT';
  const isChanged = isSet(overrides.task);
  if (isPersistent)
    return isChanged && overrides.max_timeout_run_ms === undefined ? { max_timeout_run_ms: null } : {};
  return {
    ...(overrides.max_timeout_run_ms === null ? { max_timeout_run_ms: body.max_timeout_run_ms ?? null } : {}),
    ...(isChanged && overrides.on_node_lost === undefined ? { on_node_lost: null } : {}),
  };
}

function overlayParameters(stored: Record<string, Json>, given: Record<string, Json>): Record<string, Json> {
  const before = asRecord(stored.parameters);
  const wanted = given.parameters === undefined ? {} : given.parameters;
  if (!isRecord(wanted)) return { ...stored, ...given };
  const env = isRecord(wanted.env) ? { env: { ...asRecord(before.env), ...wanted.env } } : {};
  const container: Record<string, Json> = { ...before, ...wanted, ...env };
  if (typeof wanted.image === 'string' && /:[^/]+$/.test(wanted.image) && !isSet(wanted.tag))
    container.tag = null;
  if (registryOf(container) !== registryOf(before)) {
    container.user = wanted.user ?? null;
    container.secret = wanted.secret ?? null;
  }
  return { ...stored, ...given, parameters: container };
}

/** The host an image is pulled from: named beside it, or its own first part. */
function registryOf({ host, image }: Record<string, Json>): string {
  if (typeof host === 'string' && host !== '') return host;
  const [first = '', ...others] = typeof image === 'string' ? image.split('/') : [];
  return others.length > 0 && (/[.:]/.test(first) || first === 'localhost') ? first : '';
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
