// docs/compatibility.md as it follows from the field lists and the OpenAPI document, and what in it has no evidence.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ApiError } from '../../../src/api/errors.ts';
import { errorCodes } from '../../../src/protocol/error.ts';
import type { OpenApiDocument } from '../../support/openapi-check.ts';
import { type ContractRow, contracts } from './contracts.ts';
import { type Endpoint, endpoints } from './endpoints.ts';
import { errorMeanings } from './error-codes.ts';
import {
  type FieldRow,
  isReadableAs,
  type ReferenceObject,
  type Schema,
  schemaOf,
  typeOf,
} from './field-list.ts';
import { referenceObjects } from './objects.ts';
import { fieldNames, ownObjects } from './own-objects.ts';
import { questions } from './questions.ts';
import { operationOf, schemaAt } from './schemas.ts';

export const documentPath = 'docs/compatibility.md';
const fieldsTest = 'test/http/reference-fields.test.ts';

const preface = `# Compatibility with the Render Compute job API

Flotilla speaks the job API of Render Compute (Dispersed), so that clients written for it work unchanged. This page is every endpoint and field: what is known of
the reference, what ours is, the test that shows it, and the difference. It is written by \`npm run compatibility\` from the lists in
[test/http/reference](../test/http/reference) and the OpenAPI document; [a test](../test/http/compatibility.test.ts) fails when it is not up to date, when a row
has no evidence, or when an endpoint has no row.

Marks of the reference: **D** documented by the vendor, with the page of its documentation; **C** seen in public clients; **I** inferred. Every answer in
the whole test suite is also held against the schemas of \`/openapi.json\`, which name each field, and fails on a field that they do not name.
`;

const takesAndAnswers =
  'Beside the query parameters named above; what is an object of this page is in bold, others are told with their fields where they come first.';

export function compatibilityMarkdown(document: OpenApiDocument, root: string): string {
  return [
    preface,
    ...['## Endpoints', '', endpointTable(document), ''],
    ...['## Objects', '', ...referenceObjects.flatMap((object) => objectSection(document, object, root))],
    ...contracts.flatMap(({ title, rows }) => [`## ${title}`, '', contractTable(rows), '']),
    ...['## Error codes', '', errorTable(), ''],
    ...['## What the reference leaves open', '', questionTable(), ''],
    ...['## What each endpoint takes and answers', '', takesAndAnswers, '', ownTable(document), ''],
  ].join('\n');
}

/** Operations without a row, rows without an operation, and evidence that is not there. */
export function compatibilityProblems(document: OpenApiDocument, root: string): string[] {
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  const rows = endpoints.map(({ route }) => route);
  return [
    ...operations
      .filter((route) => !rows.includes(route))
      .map((route) => `${route} has no row: add it to test/http/reference/endpoints.ts`),
    ...rows.filter((route) => !operations.includes(route)).map((route) => `${route} is in no document`),
    ...evidenceProblems(root),
    ...referenceObjects.flatMap((object) =>
      addedFields(document, object).flatMap((name) =>
        evidenceOf(object, name, root) === undefined
          ? [`${object.title}: no test of its evidence names ${name}`]
          : [],
      ),
    ),
  ];
}

function evidenceProblems(root: string): string[] {
  const rows: [what: string, evidence: readonly string[]][] = [
    ...endpoints.map(({ route, evidence }): [string, readonly string[]] => [route, evidence]),
    ...referenceObjects.map(({ title, evidence }): [string, readonly string[]] => [title, evidence]),
    ...contracts.flatMap(({ rows: all }) =>
      all.map(([what, , , , ...evidence]): [string, string[]] => [what, evidence]),
    ),
    ...questions.map(([question, , ...evidence]): [string, string[]] => [question, evidence]),
    ...errorCodes.map((code): [string, string[]] => [code, [errorMeanings[code][1]]]),
  ];
  return [
    ...rows.flatMap(([what, evidence]) => [
      ...(evidence.length === 0 ? [`${what} has no evidence`] : []),
      ...evidence
        .filter((path) => !path.endsWith('.test.ts') || !existsSync(join(root, path)))
        .map((path) => `${what}: ${path} is no test`),
    ]),
    ...endpoints.flatMap((endpoint) => unaskedProblems(endpoint, root)),
    ...errorCodes
      .filter((code) => !textOf(root, errorMeanings[code][1]).includes(`'${code}'`))
      .map((code) => `${errorMeanings[code][1]} does not name ${code}`),
  ];
}

/** The first evidence of an endpoint asks for it: it names every fixed part of the path. */
function unaskedProblems({ route, evidence: [first = ''] }: Endpoint, root: string): string[] {
  const text = textOf(root, first);
  const [, path = ''] = route.split(' ');
  const parts = path.split('/').filter((part) => part !== '' && part !== 'v1' && !part.startsWith('{'));
  return parts.every((part) => text.includes(part)) ? [] : [`${first} does not ask for ${route}`];
}

const texts = new Map<string, string>();
function textOf(root: string, path: string): string {
  const file = join(root, path);
  const text = texts.get(file) ?? (existsSync(file) ? readFileSync(file, 'utf8') : '');
  texts.set(file, text);
  return text;
}

function endpointTable(document: OpenApiDocument): string {
  const rows = endpoints.map((endpoint) => {
    const { summary = '' } = operationOf(document, endpoint.route);
    const queries = Object.keys(endpoint.query ?? {}).map((name) => `\`${name}\``);
    const reference = endpoint.reference === '' ? '—' : endpoint.reference;
    const withQueries = queries.length === 0 ? reference : `${reference}; query: ${queries.join(', ')}`;
    const difference = endpoint.difference || (endpoint.reference === '' ? 'added' : '—');
    const added = endpoint.reference === '' && difference !== 'added' ? `added: ${difference}` : difference;
    const evidence = [...(endpoint.reference === '' ? [] : [fieldsTest]), ...endpoint.evidence];
    return [`\`${endpoint.route}\``, withQueries, summary, links(evidence), added];
  });
  return table(['endpoint', 'reference', 'ours', 'evidence', 'difference'], rows);
}

function objectSection(document: OpenApiDocument, object: ReferenceObject, root: string): string[] {
  const { title, at } = object;
  const schema = schemaAt(document, at);
  const rows = [
    ...object.fields.map((field) => referenceRow(field, schema, object)),
    ...addedFields(document, object).map((name) => {
      const own: Schema = schemaOf(schema, name)?.schema ?? {};
      const evidence = evidenceOf(object, name, root) ?? '';
      const why = own.description === undefined ? 'added' : `added: ${own.description}`;
      return [`\`${name}\``, '—', typeText(own), links([evidence]), why];
    }),
  ];
  const place = `\`${at.route}\`${at.part === 'body' ? ', body' : ''}${at.inside ? `, \`${at.inside}\`` : ''}`;
  return [
    `### ${title}`,
    '',
    place,
    '',
    table(['field', 'reference', 'ours', 'evidence', 'difference'], rows),
    '',
  ];
}

function referenceRow(
  [name, type, mark, difference]: FieldRow,
  schema: Schema,
  object: ReferenceObject,
): string[] {
  const found = schemaOf(schema, name);
  const ours = found === undefined ? 'as the body of create' : typeText(found.schema);
  const known = type === 'unknown' ? 'type not known' : type.replaceAll("'", '');
  const optional = name.endsWith('?') ? ', optional' : '';
  const evidence = object.at.part === 'body' ? [fieldsTest, ...object.evidence.slice(0, 1)] : [fieldsTest];
  const told = difference ?? (found && isNarrower(found.schema, type) ? 'never null' : '—');
  return [`\`${name.replace('?', '')}\``, `${known}${optional} (${mark})`, ours, links(evidence), told];
}

function isNarrower(schema: Schema, type: string): boolean {
  const ours = typeOf(schema);
  return type.includes('| null') && !ours.includes('null') && isReadableAs(ours, type);
}

/** Fields of ours that the list does not name; what is inside a field whose schema is free is not looked at. */
function addedFields(document: OpenApiDocument, { at, fields }: ReferenceObject): string[] {
  if (at.inside !== undefined) return [];
  const known = fields.map(([name]) => name.replace('?', ''));
  const isListed = (name: string) =>
    known.some((one) => one === name || one.startsWith(`${name}.`) || one === `${name}[]`);
  return fieldNames(schemaAt(document, at)).filter(
    (name) =>
      !isListed(name) &&
      !known.includes(name.replace(/\[\]$/, '')) &&
      !(at.part === 'answer' && name.startsWith('data[]')),
  );
}

/** The first test of the object's evidence that names the field; that of the list where the list shows it. */
function evidenceOf({ evidence }: ReferenceObject, name: string, root: string): string | undefined {
  const last = name.split('.').at(-1)?.replace('[]', '') ?? name;
  return [...evidence, fieldsTest].find((path) => new RegExp(`\\b${last}\\b`).test(textOf(root, path)));
}

function ownTable(document: OpenApiDocument): string {
  const rows = ownObjects(document, endpoints).map(({ route, takes, answers, evidence }) => [
    `\`${route}\``,
    takes,
    answers,
    links(evidence),
  ]);
  return table(['endpoint', 'takes', 'answers', 'evidence'], rows);
}

function contractTable(rows: readonly ContractRow[]): string {
  const cells = rows.map(([what, reference, ours, difference, ...evidence]) => [
    ...[what, reference, ours, links(evidence), difference || '—'],
  ]);
  return table(['what', 'reference', 'ours', 'evidence', 'difference'], cells);
}

/** The reference shows the envelope alone, and 401 for a wrong signature (seen in a client). */
function errorTable(): string {
  const rows = errorCodes.map((code) => {
    const [when, evidence] = errorMeanings[code];
    return [`\`${code}\``, String(new ApiError(code, '').status), when, links([evidence])];
  });
  return table(['code', 'status', 'when', 'evidence'], rows);
}

function questionTable(): string {
  const rows = questions.map(([question, answer, ...evidence]) => [question, answer, links(evidence)]);
  return table(['question', 'what Flotilla does', 'evidence'], rows);
}

function typeText(schema: Schema): string {
  const words = typeOf(schema).map((type) => type.replaceAll("'", ''));
  return [...words, ...limitsOf(schema)].join(' | ').replaceAll(' | ≥', ' ≥').replaceAll(' | ≤', ' ≤');
}

function limitsOf({ minimum, maximum }: Schema): string[] {
  return [
    ...(minimum === undefined ? [] : [`≥ ${minimum}`]),
    ...(maximum === undefined ? [] : [`≤ ${maximum}`]),
  ];
}

function links(paths: readonly string[]): string {
  return paths.map((path) => `\`${path}\``).join(', ');
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return [line(head), `|${' --- |'.repeat(head.length)}`, ...rows.map(line)].join('\n');
}
