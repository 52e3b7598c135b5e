// Makes sure that the engine knows the image of the hello job, busybox:latest, with or without a registry.

import { isStaticallyLinked, packBusyboxImage } from './busybox-image.ts';
import { installPackages } from './debian-packages.ts';
import { askDocker } from './docker-socket.ts';
import { findProgram } from './program.ts';

export const helloImage = 'busybox:latest';

type Options = { socketPath: string; log: (line: string) => void };

/** A registry that cannot be reached must not hold up the start. */
const pullLimitMs = 8_000;

/** Nothing where it is known already; else pulled; else imported from this machine's static busybox. */
export async function ensureHelloImage(options: Options): Promise<void> {
  if (await isKnown(options.socketPath)) return;
  const problem = await pull(options.socketPath);
  if (problem === undefined) {
    options.log(`pulled ${helloImage}`);
    return;
  }
  options.log(`making ${helloImage} from this machine's busybox, because it cannot be pulled (${problem})`);
  await importBusybox({ ...options, program: await findStaticBusybox(options.log) });
}

async function isKnown(socketPath: string): Promise<boolean> {
  const answer = await askDocker({
    socketPath,
    method: 'GET',
    path: `/images/${helloImage}/json`,
    limitMs: 10_000,
  });
  return answer.status === 200;
}

/** Undefined when it was pulled, else why not. A failed pull may hide in the last line of a stream with status 200. */
async function pull(socketPath: string): Promise<string | undefined> {
  const path = '/images/create?fromImage=busybox&tag=latest';
  try {
    const { body } = await askDocker({ socketPath, method: 'POST', path, limitMs: pullLimitMs });
    if (await isKnown(socketPath)) return undefined;
    return lastProblem(body);
  } catch (error) {
    const isTimeout = error instanceof Error && error.name === 'AbortError';
    return isTimeout ? `no answer in ${pullLimitMs / 1000} s` : String(error);
  }
}

function lastProblem(body: string): string {
  const line = body.trim().split('\n').at(-1) ?? '';
  try {
    const { error, message }: { error?: string; message?: string } = JSON.parse(line);
    return error ?? message ?? line;
  } catch {
    return line;
  }
}

async function findStaticBusybox(log: (line: string) => void): Promise<string> {
  const present = findProgram('busybox', process.env);
  if (present !== undefined && isStaticallyLinked(present)) return present;
  const isDebianRoot = process.getuid?.() === 0 && findProgram('apt-get', process.env) !== undefined;
  if (isDebianRoot) await installPackages({ packages: ['busybox-static'], log });
  const installed = findProgram('busybox', process.env);
  if (installed !== undefined && isStaticallyLinked(installed)) return installed;
  throw new Error(
    `Cannot make the image ${helloImage}: no registry answers and there is no static busybox on this machine. ` +
      `Run "docker pull ${helloImage}" where a registry can be reached, or install busybox-static.`,
  );
}

async function importBusybox(options: Options & { program: string }): Promise<void> {
  const { socketPath, program } = options;
  const changes = ['CMD ["/bin/sh"]', 'ENV PATH=/bin'].map(
    (change) => `&changes=${encodeURIComponent(change)}`,
  );
  const path = `/images/create?fromSrc=-&repo=busybox&tag=latest${changes.join('')}`;
  const content = await packBusyboxImage(program);
  const answer = await askDocker({ socketPath, method: 'POST', path, content, limitMs: 60_000 });
  if (answer.status === 200 && (await isKnown(socketPath))) return;
  throw new Error(`Cannot make the image ${helloImage}: the engine answers ${lastProblem(answer.body)}`);
}
