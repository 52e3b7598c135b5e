// Where the OpenAPI document has the schema of an object: of a body, of an answer, of one in a list, or of the error.
import assert from 'node:assert/strict';
import type { OpenApiDocument, Operation } from '../../support/openapi-check.ts';
import type { ReferenceObject, Schema } from './field-list.ts';

export function operationOf(document: OpenApiDocument, route: string): Operation {
  const [method = '', path = ''] = route.split(' ');
  return document.paths[path]?.[method.toLowerCase()] ?? assert.fail(`${route} is not in the document`);
}

export function schemaAt(document: OpenApiDocument, { route, part, inside }: ReferenceObject['at']): Schema {
  const operation = operationOf(document, route);
  const whole = part === 'body' ? bodyOf(operation) : answerOf(operation, part === 'error');
  const schema = part === 'item' ? whole?.properties?.data?.items : whole;
  assert.ok(schema, `${route} has a schema of its ${part}`);
  return inside ? (schema.properties?.[inside] ?? {}) : schema;
}

export function bodyOf(operation: Operation): Schema | undefined {
  return operation.requestBody?.content['application/json']?.schema as Schema | undefined;
}

/** Of success: the last status below 300, which of create is the one with the thing made. */
export function answerOf(operation: Operation, isError = false): Schema | undefined {
  const status = isError
    ? 'default'
    : Object.keys(operation.responses)
        .filter((one) => one < '300')
        .at(-1);
  const response = operation.responses[status ?? ''];
  return response?.content?.['application/json']?.schema as Schema | undefined;
}
