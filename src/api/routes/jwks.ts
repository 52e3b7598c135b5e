// The public keys of access tokens, for whoever wants to check one; unsigned.
import type { FastifyInstance } from 'fastify';
import { JwkSet } from '../../protocol/sign-in.ts';
import type { TokenKeys } from '../token-keys.ts';

/** A new key is published an hour before it signs. */
const cacheSeconds = 300;

export function jwksRoutes(app: FastifyInstance, deps: { tokenKeys: TokenKeys }): void {
  app.get(
    '/.well-known/jwks',
    {
      schema: {
        tags: ['Sign-in'],
        summary: 'Public keys of the access tokens that this cluster issues',
        security: [],
        response: { 200: JwkSet },
      },
    },
    async (_request, reply) => {
      const set = await deps.tokenKeys.publicSet();
      return reply.header('cache-control', `public, max-age=${cacheSeconds}`).send(set);
    },
  );
}
