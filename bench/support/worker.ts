// A child process that answers calls over IPC, so that load, floor and peers do not share a thread with what is measured.
import { type ChildProcess, fork } from 'node:child_process';

/** What a worker answers: one argument in, one promise out. */
export type Calls = Record<string, (argument: never) => Promise<unknown>>;

export interface Worker<Api extends Calls> {
  readonly child: ChildProcess;
  call<Name extends keyof Api & string>(
    name: Name,
    argument: Parameters<Api[Name]>[0],
  ): Promise<Awaited<ReturnType<Api[Name]>>>;
}

interface Answer {
  id: number;
  value?: unknown;
  error?: string;
}

export function startWorker<Api extends Calls>(file: URL): Worker<Api> {
  const child = fork(file, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], serialization: 'advanced' });
  const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  let lastId = 0;
  child.on('message', (message) => {
    const { id, value, error } = message as Answer;
    const entry = waiting.get(id);
    waiting.delete(id);
    if (error !== undefined) entry?.reject(new Error(error));
    else entry?.resolve(value as never);
  });
  child.on('exit', (code, signal) => {
    for (const { reject } of waiting.values())
      reject(new Error(`The worker ${file.pathname} ended (${signal ?? `exit code ${code}`}).`));
  });
  return {
    child,
    call: (name, argument) =>
      new Promise((resolve, reject) => {
        lastId += 1;
        waiting.set(lastId, { resolve, reject });
        child.send({ id: lastId, name, argument });
      }),
  };
}

/** Answers calls until the parent is gone. */
export function serveWorker<Api extends Calls>(api: Api): void {
  process.on('message', (message) => {
    const { id, name, argument } = message as { id: number; name: string; argument: never };
    const reply = (answer: Omit<Answer, 'id'>) => process.connected && process.send?.({ id, ...answer });
    const handler = api[name];
    if (handler === undefined) return void reply({ error: `The worker has no call ${name}.` });
    handler(argument).then(
      (value) => reply({ value }),
      (error) => reply({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    );
  });
  process.on('disconnect', () => process.exit(0));
  // Ctrl-C reaches the whole group; the parent decides when we end.
  process.on('SIGINT', () => {});
}
