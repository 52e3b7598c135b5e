// Holds every answer of the suite against the OpenAPI document that the server itself serves.
import assert from 'node:assert/strict';
import { Compile } from 'typebox/compile';

export type ResponseCheck = (answer: { method: string; path: string; status: number; body: unknown }) => void;

export interface OpenApiDocument {
  openapi: string;
  info: { title: string; version: string };
  paths: Record<string, Record<string, Operation>>;
}

export interface Operation {
  summary?: string;
  parameters?: { name: string; in: string; required?: boolean; schema: object }[];
  requestBody?: { content: Record<string, { schema: object }> };
  responses: Record<string, { description?: string; content?: Record<string, { schema: object }> }>;
}

export async function fetchOpenApi(url: string): Promise<OpenApiDocument> {
  const response = await fetch(`${url}/openapi.json`);
  assert.equal(response.status, 200);
  return (await response.json()) as OpenApiDocument;
}

/** Fails on an answer whose status or shape the document does not name; fields it does not name are refused too. */
export async function createResponseCheck(url: string): Promise<ResponseCheck> {
  const document = await fetchOpenApi(url);
  const compiled = new Map<object, ReturnType<typeof Compile>>();
  const routes = Object.entries(document.paths).map(([template, operations]) => ({
    pattern: new RegExp(`^${template.replaceAll(/\{\w+\}/g, '[^/]+')}$`),
    operations,
  }));
  return ({ method, path, status, body }) => {
    const pathname = path.split('?', 1)[0] ?? '';
    const operation = routes.find((route) => route.pattern.test(pathname))?.operations[method.toLowerCase()];
    if (operation === undefined) return;
    const response = operation.responses[status] ?? (status >= 400 ? operation.responses.default : undefined);
    const schema = response?.content?.['application/json']?.schema;
    assert.ok(schema, `${method} ${pathname} answered ${status}, which its OpenAPI entry does not name`);
    const check = compiled.get(schema) ?? Compile(closed(schema) as never);
    compiled.set(schema, check);
    if (check.Check(body)) return;
    const problems = [...check.Errors(body)].slice(0, 5).map((error) => JSON.stringify(error));
    assert.fail(
      `${method} ${pathname} answered ${status} against its schema: ${problems.join('; ')}\n${JSON.stringify(body)}`,
    );
  };
}

/** The schema with every object closed that lists its properties and does not say that there may be more. */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (typeof schema !== 'object' || schema === null) return schema;
  const inner = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, closed(value)]));
  if (!('properties' in schema) || 'additionalProperties' in schema) return inner;
  return { ...inner, additionalProperties: false };
}
