// What a field list says of one object of the reference API, and whether a value or a schema is that.

/**
 * Name with its path (`gpus[].name`; a `?` at its end: may be absent), type, where it is known from, and what ours does otherwise.
 * Types are alternatives of `string`, `uuid`, `time`, `number`, `boolean`, `object`, `array`, `null`, `unknown` and words in quotes.
 * Marks: D documented by the vendor, C seen in public clients, I inferred; then the page of the vendor's documentation.
 */
export type FieldRow = readonly [name: string, type: string, mark: string, difference?: string];

export interface ReferenceObject {
  title: string;
  /** Of which operation, and what of it; `item` is one of a list. `inside` is a field whose schema is free. */
  at: { route: string; part: 'answer' | 'item' | 'body' | 'error'; inside?: string };
  fields: readonly FieldRow[];
  /** Test files that show what its fields mean; the first that names a field is its evidence. */
  evidence: readonly string[];
}

export interface Schema {
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  format?: string;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  minItems?: number;
  maxItems?: number;
  maxLength?: number;
  description?: string;
  default?: unknown;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: boolean | Schema;
  patternProperties?: Record<string, Schema>;
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;

const atoms: Record<string, (value: unknown) => boolean> = {
  string: (value) => typeof value === 'string',
  uuid: (value) => typeof value === 'string' && uuid.test(value),
  time: (value) => typeof value === 'string' && time.test(value),
  number: (value) => typeof value === 'number' && Number.isFinite(value),
  boolean: (value) => typeof value === 'boolean',
  object: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  array: Array.isArray,
  null: (value) => value === null,
  unknown: (value) => value !== undefined,
};

export function alternatives(type: string): string[] {
  return type.split(' | ');
}

function isOf(type: string, value: unknown): boolean {
  return alternatives(type).some((atom) => {
    if (atom.startsWith("'")) return value === atom.slice(1, -1);
    const check = atoms[atom];
    if (check === undefined) throw new Error(`the field lists have no type ${atom}: see FieldRow`);
    return check(value);
  });
}

/** Fields that are missing or of another type, in one value. */
export function fieldProblems(value: unknown, fields: readonly FieldRow[]): string[] {
  return fields.flatMap(([name, type]) => {
    const isOptional = name.endsWith('?');
    const found = valuesAt(value, name.replace('?', '').split('.'));
    if (found.length === 0) return [`${name}: the list around it is empty, so that it was not seen`];
    return found.flatMap((one) => {
      if (one === undefined && isOptional) return [];
      if (one === undefined) return [`${name} is missing`];
      return isOf(type, one) ? [] : [`${name} is ${JSON.stringify(one)}, not ${type}`];
    });
  });
}

/** Of each item of the arrays on the way; undefined where a field is not there. */
function valuesAt(value: unknown, path: readonly string[]): unknown[] {
  const [step, ...rest] = path;
  if (step === undefined) return [value];
  if (!atoms.object?.(value)) return [undefined];
  const next = (value as Record<string, unknown>)[step.replace('[]', '')];
  if (!step.endsWith('[]')) return valuesAt(next, rest);
  return Array.isArray(next) ? next.flatMap((item) => valuesAt(item, rest)) : [undefined];
}

/** The schema of a field, and whether its object always has it. */
export function schemaOf(object: Schema, name: string): { schema: Schema; isRequired: boolean } | undefined {
  let at: Schema | undefined = object;
  let isRequired = false;
  for (const step of name.replace('?', '').split('.')) {
    const key = step.replace('[]', '');
    isRequired = at?.required?.includes(key) ?? false;
    at = at?.properties?.[key];
    if (step.endsWith('[]')) at = at?.items;
    if (at === undefined) return undefined;
  }
  return { schema: at, isRequired };
}

/** JSON types, in the words of the lists; words of an enum in quotes. */
export function typeOf(schema: Schema): string[] {
  if (schema.const !== undefined) return [wordOf(schema.const)];
  if (schema.enum !== undefined) return schema.enum.map(wordOf);
  const types = [schema.type ?? 'unknown'].flat();
  return types.map((type) => {
    if (type === 'integer') return 'number';
    if (type !== 'string') return type;
    if (schema.format === 'uuid') return 'uuid';
    return schema.format === 'date-time' ? 'time' : 'string';
  });
}

function wordOf(value: unknown): string {
  return value === null ? 'null' : `'${value}'`;
}

/** Whether who knows the type `reference` can read everything of type `ours`. */
export function isReadableAs(ours: readonly string[], reference: string): boolean {
  const known = alternatives(reference);
  if (known.includes('unknown')) return true;
  return ours.every(
    (type) => known.includes(type) || (known.includes('string') && /^(uuid|time|'.*')$/.test(type)),
  );
}
