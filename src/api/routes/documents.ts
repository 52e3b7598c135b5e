// Routes that need no signature: the OpenAPI document, and a readable page of it.
import type { FastifyInstance, FastifySchema } from 'fastify';
import { ErrorBody } from '../../protocol/error.ts';
import { documentPage } from '../document-page.ts';

/** The frame of the generated document. */
export function openApiDocument(version: string) {
  const header = (name: string, description: string) => ({
    type: 'apiKey' as const,
    in: 'header' as const,
    name,
    description,
  });
  return {
    openapi: '3.1.0',
    info: {
      title: 'Flotilla',
      version,
      description:
        'Runs Docker jobs on every machine you own. Requests are signed with HMAC-SHA256: the canonical string ' +
        '`publicKey|timestamp|nonce|METHOD|pathname|query|sha256hex(body)` under the secret key; the query is sorted ' +
        'and percent-encoded, a JSON body is hashed as sent or in canonical form.',
    },
    components: {
      securitySchemes: {
        key: header('X-API-Key', 'public key, pk_…'),
        time: header('X-Time', 'epoch milliseconds, at most 5 minutes off'),
        nonce: header('X-Nonce', '16 random bytes as 32 hex digits, fresh for each request'),
        signature: header('X-Signature', 'HMAC-SHA256 as 64 lower-case hex digits'),
        bearer: {
          type: 'http' as const,
          scheme: 'bearer',
          bearerFormat: 'JWT',
          description:
            'an access token of POST /v1/sign-in, alone, or with X-Time, X-Nonce and X-Signature: its claim hmac_key is ' +
            'then both the first part of the canonical string and the key of the HMAC',
        },
      },
    },
    security: [
      { key: [], time: [], nonce: [], signature: [] },
      { bearer: [] },
      { bearer: [], time: [], nonce: [], signature: [] },
    ],
  };
}

/** Every route may answer with the error envelope. */
export function withErrorResponse(schema: FastifySchema): FastifySchema {
  if (schema.response === undefined) return schema;
  return { ...schema, response: { ...schema.response, default: { description: 'Error', ...ErrorBody } } };
}

export function documentRoutes(app: FastifyInstance): void {
  const hidden = { schema: { hide: true } };
  app.get('/openapi.json', hidden, async () => app.swagger());
  app.get('/docs', hidden, async (_request, reply) =>
    reply.type('text/html; charset=utf-8').send(documentPage(app.swagger())),
  );
}
