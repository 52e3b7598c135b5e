// Health of this replica for load balancers and supervisors, unsigned: whether it lives, and whether to send it requests.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { DatabaseUnavailable } from '../../db/database.ts';
import type { ApiDeps } from '../deps.ts';

/** Less than what load balancers wait for an answer. */
const patienceMs = 1_500;

export function healthRoutes(app: FastifyInstance, deps: ApiDeps): void {
  const hidden = { schema: { hide: true } };
  const { version, traffic } = deps;
  const databaseState = createDatabaseProbe(deps);
  app.get('/livez', hidden, async () => ({ status: 'ok', version }));
  const answer = async (_request: FastifyRequest, reply: FastifyReply) => {
    const status = traffic.stopping.aborted ? 'stopping' : await databaseState();
    return reply.code(status === 'ok' ? 200 : 503).send({ status, version });
  };
  app.get('/readyz', hidden, answer);
  app.get('/healthz', hidden, answer);
}

/** However many ask, one question at a time reaches the database. */
function createDatabaseProbe({ database }: ApiDeps): () => Promise<'ok' | 'database_away'> {
  let underWay: Promise<'ok' | 'database_away'> | null = null;
  const probe = async () => {
    try {
      await inTime(database.query('select 1'));
      return 'ok' as const;
    } catch (error) {
      if (error instanceof DatabaseUnavailable) return 'database_away' as const;
      throw error;
    }
  };
  return () => {
    underWay ??= probe().finally(() => {
      underWay = null;
    });
    return underWay;
  };
}

async function inTime<T>(answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const error = new DatabaseUnavailable('The database did not answer in time.');
    timer = setTimeout(() => reject(error), patienceMs);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
