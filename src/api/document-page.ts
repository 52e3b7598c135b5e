// A readable page of the OpenAPI document: every route with its fields, no script and nothing fetched.

interface Operation {
  summary?: string;
  description?: string;
  tags?: string[];
  parameters?: { name: string; in: string; description?: string; schema?: Schema }[];
  requestBody?: { content?: Record<string, { schema?: Schema }> };
  responses?: Record<string, { content?: Record<string, { schema?: Schema }> }>;
}

interface Schema {
  type?: string | string[];
  enum?: unknown[];
  const?: unknown;
  properties?: Record<string, Schema>;
  items?: Schema;
  required?: string[];
  description?: string;
  minimum?: number;
  maximum?: number;
  maxLength?: number;
}

export function documentPage(document: object): string {
  const { info, paths = {} } = document as {
    info: { title: string; version: string; description?: string };
    paths?: Record<string, Record<string, Operation>>;
  };
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) =>
      operationSection(method.toUpperCase(), path, operation),
    ),
  );
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${escapeHtml(info.title)} API</title><style>${style}</style>
<h1>${escapeHtml(info.title)} API ${escapeHtml(info.version)}</h1><p>${escapeHtml(info.description ?? '')}</p>
<p>As a document: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).</p>${operations.join('\n')}</html>`;
}

const style =
  'body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}h2{font:600 1.1rem ui-monospace,monospace;border-top:1px solid #ccc;padding-top:1rem}table{border-collapse:collapse;width:100%;font-size:.9rem}td,th{text-align:left;padding:.15rem .6rem .15rem 0;vertical-align:top;border-bottom:1px solid #eee}code{font-family:ui-monospace,monospace}summary{cursor:pointer}';

function operationSection(method: string, path: string, operation: Operation): string {
  const parameters = (operation.parameters ?? []).map((parameter) =>
    row(parameter.name, { ...parameter.schema, ...describeWith(parameter.description) }, parameter.in),
  );
  const body = operation.requestBody?.content?.['application/json']?.schema;
  const [answer] = Object.values(operation.responses ?? {});
  const answerSchema = answer?.content?.['application/json']?.schema;
  return `<h2>${method} ${escapeHtml(path)}</h2><p>${escapeHtml(operation.summary ?? '')}. ${escapeHtml(operation.description ?? '')}</p>
${table('Parameters', parameters)}${table('Body', fieldRows(body, ''))}${table('Answer', fieldRows(answerSchema, ''))}`;
}

function describeWith(description: string | undefined): Schema {
  return description === undefined ? {} : { description };
}

function fieldRows(schema: Schema | undefined, prefix: string): string[] {
  const required = new Set(schema?.required ?? []);
  return Object.entries(schema?.properties ?? {}).flatMap(([name, field]) => {
    const path = `${prefix}${name}`;
    const nested = field.properties ? fieldRows(field, `${path}.`) : fieldRows(field.items, `${path}[].`);
    return [row(path, field, required.has(name) ? 'required' : ''), ...nested];
  });
}

function row(name: string, schema: Schema, note: string): string {
  const bounds = [
    schema.minimum === undefined ? '' : `≥ ${schema.minimum}`,
    schema.maximum === undefined ? '' : `≤ ${schema.maximum}`,
    schema.maxLength === undefined ? '' : `at most ${schema.maxLength} characters`,
    schema.enum === undefined ? '' : schema.enum.join(' | '),
    schema.const === undefined ? '' : String(schema.const),
  ].filter(Boolean);
  const cells = [
    [schema.type ?? ''].flat().join(' or '),
    note,
    [schema.description ?? '', ...bounds].filter(Boolean).join('; '),
  ];
  return `<tr><td><code>${escapeHtml(name)}</code></td>${cells.map((cell) => `<td>${escapeHtml(cell)}</td>`).join('')}</tr>`;
}

function table(title: string, rows: string[]): string {
  if (rows.length === 0) return '';
  return `<details open><summary>${title}</summary><table>${rows.join('')}</table></details>`;
}

function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
