// Checks a body against its schema and names every wrong field: path, what was expected, what came.
import type { Static, TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { Settings } from 'typebox/system';
import type { FieldIssue } from '../protocol/error.ts';
import { validationFailed } from './errors.ts';
import { nearestWord } from './nearest-word.ts';

/** The library stops at 8, and every wrong field is to be told; a body of nothing but faults is still cut short. */
Settings.Set({ maxErrors: 200 });

export interface BodyCheck<T extends TSchema> {
  /** The body as the schema's type, or a validation error with every wrong field. An absent body is `{}`. */
  parse(body: unknown): Static<T>;
  issues(body: unknown): FieldIssue[];
}

interface SchemaError {
  keyword: string;
  instancePath: string;
  schemaPath: string;
  params: Record<string, unknown>;
  message: string;
}

export function bodyCheck<T extends TSchema>(schema: T): BodyCheck<T> {
  const compiled = Compile(schema);
  const issues = (body: unknown): FieldIssue[] => {
    if (compiled.Check(body)) return [];
    const errors = [...compiled.Errors(body)] as unknown as SchemaError[];
    const found = errors.flatMap((error) => toIssues(error, { schema, body }));
    return distinct(found.length > 0 ? found : [{ path: 'body', expected: 'a valid body' }]);
  };
  return {
    issues,
    parse(body) {
      const checked = body ?? {};
      const found = issues(checked);
      if (found.length > 0) throw validationFailed(found);
      return checked as Static<T>;
    },
  };
}

function toIssues(error: SchemaError, subject: { schema: TSchema; body: unknown }): FieldIssue[] {
  const { keyword, instancePath, params } = error;
  if (keyword === 'required') return missing(error);
  if (keyword === 'additionalProperties') return unknownFields(error, subject);
  // An unknown field is told once, with its nearest known name, by `additionalProperties`.
  if (keyword === 'boolean') return [];
  const received = describe(valueAt(subject.body, instancePath));
  const path = dotted(instancePath);
  switch (keyword) {
    case 'type':
      return [{ path, expected: [params.type].flat().map(articled).join(' or '), received }];
    case 'enum':
      return [
        {
          path,
          expected: `one of ${(params.allowedValues as unknown[]).filter((word) => word !== null).join(', ')}`,
          received,
        },
      ];
    case 'const':
      return [{ path, expected: JSON.stringify(params.allowedValue), received }];
    case 'minimum':
    case 'maximum':
      return [{ path, expected: `a number ${params.comparison} ${params.limit}`, received }];
    case 'minLength':
    case 'maxLength':
      return [
        {
          path,
          expected: `${keyword === 'minLength' ? 'at least' : 'at most'} ${params.limit} characters`,
          received,
        },
      ];
    case 'pattern':
    case 'format':
      return [{ path, expected: textForm(error, subject.schema), received }];
    case 'exclusiveMinimum':
    case 'exclusiveMaximum':
      return [{ path, expected: `a number ${params.comparison} ${params.limit}`, received }];
    case 'uniqueItems':
      return [{ path, expected: 'no value twice' }];
    default:
      return [{ path, expected: error.message.replace(/^must /, 'a value that must '), received }];
  }
}

const formats: Record<string, string> = {
  uuid: 'a UUID',
  'date-time': 'a time, such as 2026-01-31T12:00:00Z',
};

/** Of a text in a wrong form: the form in words where it has a name, else its pattern. */
function textForm({ schemaPath, params }: SchemaError, schema: TSchema): string {
  const { format, title } = placeOf(schema, schemaPath) as { format?: string; title?: string };
  const named = title ?? formats[format ?? ''];
  if (named !== undefined) return named;
  return params.pattern === undefined ? `a ${params.format}` : `text that matches ${params.pattern}`;
}

function missing({ params, instancePath }: SchemaError): FieldIssue[] {
  const names = (params.requiredProperties ?? [params.missingProperty]) as string[];
  return names.map((name) => ({
    path: dotted(`${instancePath}/${name}`),
    expected: 'a value',
    received: 'nothing',
  }));
}

function unknownFields(
  { params, instancePath, schemaPath }: SchemaError,
  { schema }: { schema: TSchema },
): FieldIssue[] {
  const names = [params.additionalProperties ?? params.additionalProperty].flat() as string[];
  const known = knownFields(schema, schemaPath);
  return names.map((name) => {
    const nearest = nearestWord(name, known);
    const hint = nearest === undefined ? {} : { hint: `did you mean ${nearest}?` };
    return {
      path: dotted(`${instancePath}/${name}`),
      expected: 'no such field',
      received: 'an unknown field',
      ...hint,
    };
  });
}

function knownFields(schema: TSchema, schemaPath: string): string[] {
  const properties = child(placeOf(schema, schemaPath), 'properties');
  return typeof properties === 'object' && properties !== null ? Object.keys(properties) : [];
}

/** The part of the schema that a path names; an empty one where there is none. */
function placeOf(schema: TSchema, schemaPath: string): object {
  let place: unknown = schema;
  for (const step of schemaPath.replace(/^#\/?/, '').split('/').filter(Boolean)) place = child(place, step);
  return typeof place === 'object' && place !== null ? place : {};
}

function child(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}

function valueAt(body: unknown, pointer: string): unknown {
  let value = body;
  for (const step of pointer.split('/').slice(1))
    value = child(value, step.replaceAll('~1', '/').replaceAll('~0', '~'));
  return value;
}

/** `/parameters/parameters/ports/0` as `parameters.parameters.ports[0]`. */
export function dotted(pointer: string): string {
  const steps = pointer
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
  const path = steps.map((step) => (/^\d+$/.test(step) ? `[${step}]` : `.${step}`)).join('');
  return path.replace(/^\./, '') || 'body';
}

/** What came, short and without echoing what may be secret. */
export function describe(value: unknown): string {
  if (value === null) return 'null';
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return `a string of ${value.length} characters`;
  return 'an object';
}

const articles: Record<string, string> = {
  integer: 'an integer',
  object: 'an object',
  array: 'an array',
  null: 'null',
};

function articled(type: unknown): string {
  return articles[String(type)] ?? `a ${type}`;
}

function distinct(issues: FieldIssue[]): FieldIssue[] {
  const seen = new Set<string>();
  return issues.filter((issue) => {
    const key = `${issue.path}\n${issue.expected}`;
    return !seen.has(key) && seen.add(key);
  });
}
